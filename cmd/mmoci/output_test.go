package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "",
		"plain\ttext\n":                 "plain\ttext\n",
		"Käse über 東京 \u00a0":           "Käse über 東京 \u00a0",
		"\x1b[2J\x1b]0;owned\x07":       `\u001b[2J\u001b]0;owned\u0007`,
		"a\rb\x00c\x7fd\be":             `a\u000db\u0000c\u007fd\u0008e`,
		"\u009b2J \u0085":               `\u009b2J \u0085`,
		"\x9b2J":                        `\u009b2J`,
		"/home/j\xf6rg":                 "/home/j\xf6rg",
		"\u202egnp.exe \u2066x\u2069":   `\u202egnp.exe \u2066x\u2069`,
		"\u2028line \u200fright":        `\u2028line \u200fright`,
		strings.Repeat("x", 100) + "\a": strings.Repeat("x", 100) + `\u0007`,
	} {
		if got := string(printable([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzPrintable: no control character is left, it is done once, and JSON stays the same JSON.
func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J \u009b \x9b \u202e \xff")
	f.Fuzz(func(t *testing.T, s string) {
		out := string(printable([]byte(s)))
		for i, r := range out {
			if r != '\n' && r != '\t' && controls(r) || r == utf8.RuneError && out[i] >= 0x80 && out[i] <= 0x9f {
				t.Fatalf("%q leaves %q", s, out)
			}
		}
		if again := string(printable([]byte(out))); again != out {
			t.Fatalf("%q, then %q", out, again)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if err := json.Unmarshal(data, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(printable(data), &after); err != nil || after != before {
			t.Fatalf("%q as JSON became %q, %v", before, after, err)
		}
	})
}

// TestOnlyWay: the program's own standard output and error are reached through results and safeWriter alone.
func TestOnlyWay(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	around := regexp.MustCompile(`os\.Std(out|err)|fmt\.Print|\bprintln\(|\.terminal\b`)
	allowed := map[string]string{
		"main.go":     "hands them to run",
		"key.go":      "lets the commands that sign and give passphrases speak",
		"progress.go": "rewrites its line",
		"host.go":     "lets dpkg speak",
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || allowed[e.Name()] != "" {
			continue
		}
		text, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := around.Find(text); found != nil {
			t.Errorf("%s: %s goes past what makes output printable", e.Name(), found)
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
			if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && controls(r) }) {
				t.Errorf("%q: %s has a control character: %q", args, where, out)
			}
			if strings.HasPrefix(out, "mmoci: all is well") || strings.Contains(out, "\nmmoci: all is well") {
				t.Errorf("%q: %s has a line of the opponent's: %q", args, where, out)
			}
		}
	}
}

// slowly is a writer that stands still until it is let go.
type slowly struct {
	free  chan struct{}
	calls int
	bytes.Buffer
}

func (s *slowly) Write(p []byte) (int, error) {
	<-s.free
	s.calls++
	return s.Buffer.Write(p)
}

// Every line of many writers is written, whole and in its writer's order, in few calls.
func TestLineWriter(t *testing.T) {
	t.Parallel()
	w := &slowly{free: make(chan struct{})}
	l := newLineWriter(w)
	const writers, lines = 8, 500
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range lines {
				if _, err := fmt.Fprintf(l, "%d %d\n", i, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(w.free)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("last\n")); err != nil { // somebody who was late
		t.Fatal(err)
	}
	next := map[int]int{}
	all := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
	for _, line := range all[:len(all)-1] {
		var i, n int
		if _, err := fmt.Sscanf(line, "%d %d", &i, &n); err != nil || n != next[i] {
			t.Fatalf("line %q, expected %d", line, next[i])
		}
		next[i]++
	}
	if len(all) != writers*lines+1 || all[len(all)-1] != "last" {
		t.Errorf("%d lines", len(all))
	}
	if w.calls > 10 {
		t.Errorf("%d calls", w.calls)
	}
}
