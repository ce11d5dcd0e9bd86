package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

func TestParseFormat(t *testing.T) {
	for _, c := range []struct {
		name     string
		terminal bool
		want     Format
		bad      bool
	}{
		{"", true, Text, false}, {"", false, JSON, false}, {"json", true, JSON, false}, {"text", false, Text, false}, {"yaml", true, "", true},
	} {
		got, err := ParseFormat(c.name, c.terminal)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q, %v: %q, %v", c.name, c.terminal, got, err)
		}
	}
}

// A request is one line, whatever a client sends.
func TestRequest(t *testing.T) {
	r := Request{
		Client: "192.0.2.1", Method: "GET", Path: "/a\n\"b", Status: 200, Bytes: 3, Package: snapshot.Package{Name: "bash"}, Agent: "x\x1b[2J",
		Registry: &Registry{Repository: "site/app", Reference: "1.0"}, Err: errors.New("late"),
	}
	var b bytes.Buffer
	r.Log(New(&b, JSON, slog.LevelInfo))
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%v: %q", err, b.String())
	}
	for name, want := range map[string]any{
		"msg": "request", "path": "/a\n\"b", "package": "bash", "status": 200.0, "bytes": 3.0, "repository": "site/app", "error": "late",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	b.Reset()
	r.Log(New(&b, Text, slog.LevelInfo))
	if text := b.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "\x1b") || !strings.Contains(text, "status=200") {
		t.Errorf("text %q", text)
	}
}

func TestOfServer(t *testing.T) {
	var b bytes.Buffer
	l := OfServer(New(&b, JSON, slog.LevelInfo))
	l.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	if b.Len() > 0 {
		t.Errorf("a client's handshake: %s", &b)
	}
	l.Print("http: Accept error: too many open files; retrying in 5ms")
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["level"] != "WARN" || got["msg"] != "http: Accept error: too many open files; retrying in 5ms" {
		t.Errorf("%v: %s", err, &b)
	}
}
