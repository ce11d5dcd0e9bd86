package freeze

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// An own file that is another one by the time it is pushed, by whatever means it kept its size and its times, is refused,
// and the error names it and says what to do.
func TestOwnFileChanged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a_1_amd64.deb")
	blob := snapshot.BlobOf([]byte("these bytes"))
	o := &origins{m: map[snapshot.Digest]origin{}}
	o.add(blob.Digest, "own/pool/a_1_amd64.deb", localFile(file))
	read := func(now string) error {
		t.Helper()
		if err := os.WriteFile(file, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := o.Open(t.Context(), blob, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := c.Reader(blob)
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	if err := read("these bytes"); err != nil {
		t.Error(err)
	}
	for _, now := range []string{"other bytes", "less", "more than there were"} {
		if err := read(now); !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "push again") {
			t.Errorf("%s: %v", now, err)
		}
	}
}
