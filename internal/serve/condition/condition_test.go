package condition

import (
	"strings"
	"testing"
)

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-1", "bytes=1-2", "bytes=0-0,2-3", "bytes=", "bytes=--", "bytes=9223372036854775807-", "bytes= 1-2"} {
		f.Add(s, int64(100))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		size = max(0, size)
		p, kind := ParseRange(header, size)
		if kind == PartOfFile && (p.Start < 0 || p.Length <= 0 || p.Start > size-p.Length) {
			t.Errorf("%q of %d: %+v", header, size, p)
		}
		if kind != PartOfFile && p != (Section{}) {
			t.Errorf("%q of %d: kind %d with %+v", header, size, kind, p)
		}
	})
}

func FuzzHasTag(f *testing.F) {
	f.Add(`"a", W/"b"`, "b")
	f.Add(`*`, "")
	f.Add(`"`, "x")
	f.Fuzz(func(t *testing.T, list, tag string) {
		if strings.ContainsRune(tag, '"') {
			return
		}
		tag = `"` + tag + `"`
		if hasTag(list, tag, true) && !hasTag(list, tag, false) {
			t.Errorf("%q: %s equal strongly and not weakly", list, tag)
		}
		if !hasTag(`"other" , `+tag, tag, true) && tag != "" {
			t.Errorf("%s not found", tag)
		}
	})
}
