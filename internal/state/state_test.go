package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/mmoci/internal/outcome"
)

// TestOthersFiles: what is taken without having been named is of the user who
// runs this, or root's. Root gives files away for it; anybody else is taken for another user.
func TestOthersFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	uid, other := os.Geteuid(), os.Geteuid()+1
	if err := os.WriteFile("mmoci.yaml", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error, want bool) {
		t.Helper()
		if errors.Is(err, ErrForeign) != want || want && !errors.Is(err, outcome.ErrUsage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("one's own", OwnedHere(uid, "mmoci.yaml"), false)
	if uid == 0 {
		refused("root's", OwnedHere(other, "mmoci.yaml"), false)
		for _, name := range []string{"mmoci.yaml", "."} {
			if err := os.Lchown(name, other, -1); err != nil {
				t.Fatal(err)
			}
			refused(name+" given away", OwnedHere(uid, "mmoci.yaml"), true)
			if err := os.Lchown(name, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		refused("another's", OwnedHere(other, "mmoci.yaml"), true)
	}
	for _, name := range []string{"mmoci.yaml", "."} {
		for _, mode := range []os.FileMode{0o777, 0o777 | os.ModeSticky, 0o702} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
			refused(name+" for anybody", OwnedHere(uid, "mmoci.yaml"), true)
		}
		if err := os.Chmod(name, 0o775); err != nil {
			t.Fatal(err)
		}
	}
	refused("again", OwnedHere(uid, "mmoci.yaml"), false)
	refused("that of the system", OwnedHere(other, "/etc/mmoci/mmoci.yaml"), false)

	base := filepath.Join(dir, "state")
	kept := filepath.Join(base, "mmoci", "statements")
	refused("nothing there yet", ownState(uid, base, kept), false)
	if err := os.MkdirAll(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	refused("one's own state", ownState(uid, base, kept), false)
	for _, name := range []string{base, filepath.Dir(kept), kept} {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
		refused(name+" for anybody", ownState(uid, base, kept), true)
		if err := os.Chmod(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if uid != 0 {
		refused("another's state", ownState(other, base, kept), true)
	}
}
