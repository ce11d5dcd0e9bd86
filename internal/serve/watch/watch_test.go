package watch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A bad file leaves the value as it was, and is reported once; a good one is taken.
func TestFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bad := errors.New("bad")
	parse := func(contents [][]byte) (string, error) {
		if string(contents[0]) == "bad" {
			return "", bad
		}
		return string(contents[0]), nil
	}
	var errs []error
	report := func(_ string, err error) { errs = append(errs, err) }
	if _, err := Open(3, parse, report, name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	put("one")
	f, err := Open(3, parse, report, name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want string, reports int) {
		t.Helper()
		f.Look()
		f.Look()
		if f.Get() != want || len(errs) != reports {
			t.Errorf("%q, want %q; %d reports, want %d: %v", f.Get(), want, len(errs), reports, errs)
		}
		if now := error(nil); len(errs) > 0 {
			if now = errs[len(errs)-1]; !errors.Is(f.Failing(), now) {
				t.Errorf("failing: %v, reported last: %v", f.Failing(), now)
			}
		}
	}
	check("one", 0)
	put("two")
	check("two", 1)
	put("bad")
	check("two", 2)
	put("long")
	check("two", 3)
	os.Remove(name)
	check("two", 4)
	put("six")
	check("six", 5)
	os.Remove(name)
	check("six", 6)
	put("six") // what it was
	check("six", 7)
	var none *File[string]
	none.Look()
	if none.Get() != "" || none.Failing() != nil {
		t.Error("a nil File has a value")
	}
}
