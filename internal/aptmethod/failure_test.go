package aptmethod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// What did not answer is not asked again for a while, whatever is wanted of it; what has answered in this run is.
func TestDeadRegistry(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	src := &source{} // without a repository: who asks it ends here
	src.failed.note(t.Context(), refused)
	src.failed.at = time.Now().Add(time.Hour) // this machine may be slow
	if _, err := src.open(t.Context()); !errors.Is(err, refused) {
		t.Errorf("open: %v", err)
	}
	if err := src.fetch(t.Context(), fetching{blob: snapshot.Blob{Size: 1}, filename: "none"}); !errors.Is(err, refused) {
		t.Errorf("fetch: %v", err)
	}
	src.failed.at = time.Now().Add(-keepFailure)
	if err := src.failed.kept(); err != nil {
		t.Errorf("after a while: %v", err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for what, note := range map[string]func(f *failure){
		"nothing":                  func(*failure) {},
		"an end of apt's":          func(f *failure) { f.note(ended, refused) },
		"an error of this machine": func(f *failure) { f.note(t.Context(), fs.ErrPermission) },
		"an answer before it":      func(f *failure) { f.note(t.Context(), nil); f.note(t.Context(), refused) },
		"an answer after it":       func(f *failure) { f.note(t.Context(), refused); f.note(t.Context(), nil) },
	} {
		var f failure
		note(&f)
		if err := f.kept(); err != nil {
			t.Errorf("%s: %v is kept", what, err)
		}
	}
}

// No word of a registry moves the cursor of apt's terminal or turns what is around it.
func TestOneLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\nb\r\tc":                 "a b c",
		"a\x1b[2Jb":                 "a [2Jb",
		"a\u009b2Jb":                "a 2Jb",
		"x\u202egnp.exe\u202c":      "x gnp.exe",
		"x\u2066y\u2069z\u200bw":    "x y z w",
		"one\u2028two\u2029three":   "one two three",
		"grüße, 日本":                 "grüße, 日本",
		"\xff\xfe":                  "?",
		"\ufeffbegin and\u00ad end": "begin and  end",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
