package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
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
			if r != '\n' && r != '\t' && IsControl(r) || r == utf8.RuneError && out[i] >= 0x80 && out[i] <= 0x9f {
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
	l := NewLineWriter(w)
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
