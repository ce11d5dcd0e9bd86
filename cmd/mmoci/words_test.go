package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/mmoci/internal/terminal"
)

// TestOnlyWay: the program's own standard output and error are reached through package terminal alone.
func TestOnlyWay(t *testing.T) {
	around := regexp.MustCompile(`os\.Std(out|err)|fmt\.Print|\bprintln\(|\.Terminal\b`)
	allowed := map[string]string{
		"main.go":                     "hands them to run",
		"internal/command/signing.go": "lets the commands that sign and give passphrases speak",
		"internal/command/app.go":     "shows the line of progress",
		"internal/onhost/host.go":     "lets dpkg speak",
	}
	found := map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		if by := around.Find(text); by != nil {
			if found[name] = true; allowed[name] == "" {
				t.Errorf("%s: %s goes past what makes output printable", name, by)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range allowed {
		if !found[name] {
			t.Errorf("%s goes past nothing any more", name)
		}
	}
}

// TestWordsFromOutside: what a registry answers and what a layout names reaches
// neither output as a control character, nor as a line that looks like ours.
func TestWordsFromOutside(t *testing.T) {
	t.Parallel()
	const evil = "\x1b[2J\x1b]0;owned\a\u009b1m\u202e\nmmoci: all is well\r\n"
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"code": "DENIED" + evil, "message": evil, "detail": evil}}})
	}))
	defer registry.Close()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, evil)
	}))
	defer mirror.Close()
	layout := t.TempDir()
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{map[string]any{
		"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + strings.Repeat("1", 64), "size": 10,
		"annotations": map[string]any{"org.opencontainers.image.ref.name": evil},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": string(index)} {
		if err := os.WriteFile(filepath.Join(layout, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(layout, "key.asc")
	ref := strings.TrimPrefix(registry.URL, "http://") + "/site/mirror:noble"
	for _, args := range [][]string{
		{"verify", "--insecure-unsigned", ref}, {"ls", "-v", ref}, {"tag", "list", ref}, {"copy", "--json", ref, "oci:" + layout + ":x"}, {"doctor", ref},
		{"tag", "list", "oci:" + layout}, {"tag", "list", "--json", "oci:" + layout}, {"ls", "oci:" + layout + ":none"}, {"tag", "prune", "--keep-last", "1", "oci:" + layout},
		{"host", "sources", "--insecure-unsigned", "--root", layout, mirror.URL}, {"host", "wait", "--timeout", "10ms", mirror.URL}, {"check", mirror.URL},
		{"key", "new", "-o", key, "--user-id", "site \u202emoc"}, {"key", "show", strings.Replace(key, ".asc", ".pub.asc", 1)},
		{"bogus" + evil}, {"verify", "--" + evil}, {"verify", evil},
	} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
		for where, out := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String()} {
			if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && terminal.IsControl(r) }) {
				t.Errorf("%q: %s has a control character: %q", args, where, out)
			}
			if strings.HasPrefix(out, "mmoci: all is well") || strings.Contains(out, "\nmmoci: all is well") {
				t.Errorf("%q: %s has a line of the opponent's: %q", args, where, out)
			}
		}
	}
}
