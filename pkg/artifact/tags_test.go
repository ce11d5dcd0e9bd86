package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// A reference that was not parsed reaches no place with a tag that is none, and a
// layout lists no such name, though it keeps the entry.
func TestTagNames(t *testing.T) {
	t.Parallel()
	ref := layoutRef(t)
	s := takeOf(t, synthFiles(1))
	mustPush(t, ref, s, PushOptions{})
	bad := []string{"../../x", "a b", "a\x1b[31m", "a\"}],", "-a", "a//b:c", "A:b", strings.Repeat("a", oci.MaxTag+1)}
	for _, tag := range bad {
		for _, r := range []Reference{{Kind: Layout, Name: ref.Name, Tag: tag}, {Kind: Registry, Name: "127.0.0.1:1/m", Tag: tag}, {Kind: Archive, Name: ref.Name + ".tar", Tag: tag}} {
			_, err := Open(t.Context(), r, Options{})
			_, resolving := Resolve(t.Context(), r, Options{})
			_, pushing := Push(t.Context(), r, s, PushOptions{})
			for _, err := range []error{err, resolving, pushing} {
				if !errors.Is(err, ErrReference) || strings.ContainsFunc(err.Error(), unicode.IsControl) {
					t.Errorf("%q: %q", tag, err)
				}
			}
		}
	}
	index := filepath.Join(ref.Name, "index.json")
	data, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range bad {
		name, err := json.Marshal(tag)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(data, []byte(`{"mediaType":"`+oci.TypeIndex+`","digest"`))
		entry, _, _ := bytes.Cut(data[at:], []byte(`"annotations"`))
		entry = append(append(append(bytes.Clone(entry), `"annotations":{"`+refName+`":`...), name...), `}},`...)
		data = slices.Concat(data[:at], entry, data[at:])
	}
	writeFile(t, index, data)
	tags, err := Tags(t.Context(), ref, Options{})
	if err != nil || len(tags) != 2 { // the alias and the immutable one
		t.Errorf("%v, %v", tags, err)
	}
	if _, err := Open(t.Context(), Reference{Kind: Layout, Name: ref.Name, Tag: "absent"}, Options{}); err == nil || strings.ContainsFunc(err.Error(), unicode.IsControl) || strings.Contains(err.Error(), "../") {
		t.Errorf("%q", err)
	}
	next := ref
	next.Tag = "next"
	mustPush(t, next, s, PushOptions{})
	if now, err := os.ReadFile(index); err != nil || !bytes.Contains(now, []byte(`"../../x"`)) || bytes.Count(now, []byte(refName)) < len(bad)+3 {
		t.Errorf("%s, %v", now, err)
	}
}

// A copy under an immutable name sets that tag alone; the name of another snapshot's is refused.
func TestCopyUnderImmutableName(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(3))
	src := layoutRef(t)
	long := src
	long.Tag = strings.Repeat("t", oci.MaxAlias)
	pushed := mustPush(t, src, s, PushOptions{})
	f := newFakeRegistry(t)
	for _, dst := range []Reference{f.ref(t, "x"), layoutRef(t), src} {
		for _, tag := range []string{pushed.Immutable, mustPush(t, long, s, PushOptions{}).Immutable} {
			dst.Tag = tag
			copied, err := Copy(t.Context(), src, dst, PushOptions{})
			if err != nil || copied.Immutable != "" {
				t.Errorf("%s: also tagged %q, %v", dst, copied.Immutable, err)
			}
			again, err := Copy(t.Context(), src, dst, PushOptions{})
			if err != nil || again.Changed {
				t.Errorf("%s: %+v, %v", dst, again, err)
			}
			if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
				t.Error(err)
			}
		}
		names, err := TagNames(t.Context(), dst, Options{})
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			if oci.ImmutableStem(oci.ImmutableStem(name)) != "" {
				t.Errorf("%s: tag %s", dst, name)
			}
		}
		for _, tag := range []string{"noble-20261121T091340Z-0123456789ab", strings.Replace(pushed.Immutable, "2026", "2025", 1)} {
			dst.Tag = tag
			if _, err := Copy(t.Context(), src, dst, PushOptions{}); !errors.Is(err, ErrReference) || !strings.Contains(err.Error(), pushed.Immutable) {
				t.Errorf("%s: %v", dst, err)
			}
		}
	}
}
