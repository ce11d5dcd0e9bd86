package snapshot_test

import (
	"bytes"
	"errors"
	"testing"

	. "example.org/mmoci/pkg/snapshot"
)

// TestCarriedNames: below "mmoci/" a table, made or read, names programs by
// architecture and the script, and nothing else: these names become files that a host runs.
func TestCarriedNames(t *testing.T) {
	t.Parallel()
	row := func(path string) Row { return Row{Path: path, Size: 1, Digest: Sum([]byte("x"))} }
	good, err := NewTable([]Row{row("mmoci/amd64"), row("mmoci/bootstrap.sh")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTable(good.Bytes()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mmoci/amd65", "mmoci/AMD64", "mmoci/a/d64", "mmoci/ls -l", "mmoci/-rf ."} {
		if _, err := NewTable([]Row{row(name)}); err == nil {
			t.Errorf("%s: made", name)
		}
		data := bytes.Replace(good.Bytes(), []byte("mmoci/amd64"), []byte(name), 1)
		if len(name) != len("mmoci/amd64") || bytes.Equal(data, good.Bytes()) {
			t.Fatal(name)
		}
		if _, err := OpenTable(data); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
