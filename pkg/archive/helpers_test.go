package archive

import (
	"os"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// fixture reads a file that testdata/make.sh had GnuPG 2.2 write.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("pgp/testdata/gpg/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ring joins the public keys of that names.
func ring(t testing.TB, names ...string) *pgp.Keyring {
	t.Helper()
	all := pgp.JoinKeyrings()
	for _, n := range names {
		k, err := pgp.ReadKeyring(fixture(t, n+".gpg"))
		if err != nil {
			t.Fatal(err)
		}
		all = pgp.JoinKeyrings(all, k)
	}
	return all
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// newSigner makes a fresh site key.
func newSigner(t testing.TB) pgp.Signer {
	t.Helper()
	private, _, err := pgp.NewKey("Site <site@example.org>", day("2000-01-01"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := pgp.ReadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantErr checks an error: nil for want == "", else one that contains want.
func wantErr(t testing.TB, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("error %v, want none", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want %q in it", err, want)
	}
}
