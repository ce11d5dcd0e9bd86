package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// scanReader gives what scan gives, read through windows.
func scanReader(in io.Reader, window int) (out []string, err error) {
	for r := newIndexReader(in, window); ; {
		s, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		text := string(s)
		if err != nil {
			if _, ok := errors.AsType[*StanzaError](err); !ok {
				return out, err
			}
			text = "!" + err.Error()
		}
		out = append(out, fmt.Sprintf("%d:%d:%s", r.Offset(), r.Line(), text))
	}
}

// However an index is cut into windows, the stanzas are those of the whole.
func FuzzIndexReader(f *testing.F) {
	for _, s := range []string{
		"", "\n \n", "A: 1", "A: 1\n\nA: 2\n\n", "\n\nA: 1\n\n\n\nB: 2", "A: 1\r\n\r\nB: 2\r\n", "A: 1\n \t\nB: 2\n b\n",
		"A\n\nB: 1\nB: 2\n\nC: \x00\n\nD: 1", "Package: x\n#\n\n a\n", strings.Repeat("Package: abc\nDepends: d\n\n", 40),
	} {
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, window byte) {
		want := scan(string(data))
		for _, in := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data))} {
			got, err := scanReader(in, int(window)+1)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("window %d: %q, %v, want %q", window, got, err, want)
			}
		}
	})
}

// A stanza over the limit is refused without being held, and the next one is read.
func TestIndexReaderLongStanza(t *testing.T) {
	t.Parallel()
	long := "Package: long\nA:\n" + strings.Repeat(" "+strings.Repeat("x", 999)+"\n", MaxStanza/1000+1)
	for about, tail := range map[string]string{
		"at the limit": "", "lines behind it": strings.Repeat(" y\n", 100_000), "a long line behind it": " " + strings.Repeat("z", 40<<20) + "\n",
	} {
		text := "Package: a\n\n" + long + tail
		want := []string{"0:1:Package: a\n", fmt.Sprintf("12:3:!line 3: %v", errStanzaLong),
			fmt.Sprintf("%d:%d:Package: b\n", len(text)+1, strings.Count(text, "\n")+2), fmt.Sprintf("%d:%d:!line %[2]d: %v", len(text)+13, strings.Count(text, "\n")+4, errNoColon)}
		got, err := scanReader(strings.NewReader(text+"\nPackage: b\n\nbad"), readerWindow)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %.300q, %v, want %q", about, got, err, want)
		}
		if got, err := scanReader(strings.NewReader(text), readerWindow); err != nil || len(got) != 2 {
			t.Errorf("%s, at the end: %.300q, %v", about, got, err)
		}
	}
}

// An index that breaks off is no shorter index.
func TestIndexReaderBreaksOff(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := NewIndexReader(io.MultiReader(strings.NewReader("A: 1\n\nB: 2\n"), iotest.ErrReader(broken)))
	for range 3 {
		if s, err := r.Next(); !errors.Is(err, broken) {
			t.Fatalf("%q, %v", s, err)
		}
	}
}
