package serve

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/pkg/snapshot"
)

// A defect of the program ends one request, and says so in the log's own form.
func TestDefectOfOneRequest(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb(bytesOf("deb", bigSize)).take(t, m)
	target := mustFind(t, sn, debPath).Digest
	m.fault = func(b snapshot.Blob, d []byte) (io.Reader, error) {
		if b.Digest == target {
			panic("made by a test")
		}
		return bytes.NewReader(d), nil
	}
	var b bytes.Buffer
	log := &lockedWriter{w: &b}
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, Log: logs.New(log, logs.JSON, slog.LevelInfo), Access: logs.New(log, logs.JSON, slog.LevelInfo)}, false)
	if a := ask(t, base, "GET", "/"+debPath); a.status != http.StatusInternalServerError || !strings.HasPrefix(a.phrase, "a defect of the server") {
		t.Errorf("%d %s", a.status, a.phrase)
	}
	if a := ask(t, base, "GET", "/healthz"); a.status != http.StatusOK {
		t.Errorf("afterwards: %d", a.status)
	}
	if got := counted(t, s, "mmoci_panics_total"); got != 1 {
		t.Errorf("counted %v", got)
	}
	var stack, request bool
	log.mu.Lock()
	defer log.mu.Unlock()
	for line := range strings.Lines(b.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		text, _ := record["stack"].(string)
		stack = stack || strings.Contains(text, "OpenBlob") && record["level"] == "ERROR"
		request = request || record["msg"] == "request" && record["status"] == 500.0 && record["error"] == "panic: made by a test"
	}
	if !stack || !request {
		t.Errorf("stack %v, request %v:\n%s", stack, request, &b)
	}
}

// Rules that cannot be read any more are told by metrics and /readyz until they can.
func TestBrokenRulesAreTold(t *testing.T) {
	t.Parallel()
	m := newMemoryBlobs()
	sn := oneDeb([]byte("deb")).take(t, m)
	file := writeRules(t, "rules:\n- {name: no-docker, deny: docker-ce, reason: none}\n")
	s, base := run(t, Options{Sources: []Source{newTag(sn)}, Policy: file, look: 5 * time.Millisecond}, true)
	const sentence = "but: the file of the policy cannot be used as it is now"
	told := func() bool {
		a := ask(t, base, "GET", "/readyz")
		return a.status == 200 && bytes.Contains(a.body, []byte(sentence)) && counted(t, s, "mmoci_reload_failing") == 1
	}
	if told() {
		t.Error("told of rules that are right")
	}
	rewrite := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("rules: none\n")
	eventually(t, told)
	if a := ask(t, base, "GET", "/"+debPath); a.status != http.StatusForbidden {
		t.Errorf("the rules read before are not in force: %d", a.status)
	}
	if got := counted(t, s, "mmoci_denied_total"); got != 1 {
		t.Errorf("denied %v", got)
	}
	rewrite("rules: []\n")
	eventually(t, func() bool { return !told() })
}
