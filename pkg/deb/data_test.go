package deb

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"example.org/mmoci/internal/testarchive"
)

// A file of data.tar is found by its path, in each compression that is read; a link, another path and a long one are not.
func TestDataFile(t *testing.T) {
	t.Parallel()
	const name = "usr/share/doc/hello/changelog.gz"
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		file := testarchive.Package{
			Name: "hello", Version: "1", Architecture: "amd64", Compression: compression, Size: 100_000,
			Content: map[string]string{name: "what changed", "usr/bin/hello": "#!/bin/sh"},
		}.Deb(t)
		for _, tt := range []struct {
			names []string
			limit int64
			want  string
			is    error
		}{
			{[]string{"usr/share/doc/hello/changelog.Debian.gz", name}, 12, "what changed", nil},
			{[]string{"changelog.gz"}, 12, "", ErrNoFile},
			{[]string{name}, 11, "", ErrMalformed},
		} {
			got, err := DataFile(bytes.NewReader(file), tt.limit, tt.names...)
			if string(got) != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("%s, %v: %q, %v", compression, tt.names, got, err)
			}
		}
		for _, n := range []int{0, 8, len(file) / 2} {
			if _, err := DataFile(bytes.NewReader(file[:n]), 12, "usr/share/hello/nothing"); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, cut at %d: %v", compression, n, err)
			}
		}
	}
}

// All files that are wanted are read, within one bound of them all.
func TestDataFiles(t *testing.T) {
	t.Parallel()
	content := map[string]string{"usr/share/a/1.crt": "one", "usr/share/a/2.crt": "three", "usr/bin/hello": "#!/bin/sh"}
	wanted := func(path string) bool { return strings.HasSuffix(path, ".crt") }
	for _, compression := range []string{"xz", "gz", "zst", "none"} {
		file := testarchive.Package{Name: "hello", Version: "1", Architecture: "amd64", Compression: compression, Content: content}.Deb(t)
		got, err := DataFiles(bytes.NewReader(file), 8, wanted)
		if err != nil || len(got) != 2 || string(got["usr/share/a/1.crt"]) != "one" || string(got["usr/share/a/2.crt"]) != "three" {
			t.Errorf("%s: %q, %v", compression, got, err)
		}
		if got, err := DataFiles(bytes.NewReader(file), 7, wanted); got != nil || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, too long: %q, %v", compression, got, err)
		}
		if got, err := DataFiles(bytes.NewReader(file), 0, func(string) bool { return false }); err != nil || len(got) != 0 {
			t.Errorf("%s, none: %q, %v", compression, got, err)
		}
		if _, err := DataFiles(bytes.NewReader(file[:len(file)/2]), 8, wanted); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, cut: %v", compression, err)
		}
	}
}
