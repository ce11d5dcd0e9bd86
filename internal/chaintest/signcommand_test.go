package chaintest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/internal/testregistry"
)

// TestMain lets the test binary be a signing command, too: one that puts the
// time of the clock into its signatures, as agents do.
func TestMain(m *testing.M) {
	if how := os.Getenv("MMOCI_TEST_SIGNER"); how != "" {
		os.Exit(signAs(how))
	}
	os.Exit(m.Run())
}

func signAs(how string) int {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1
	}
	key, at := testarchive.SiteKey(), time.Unix(1_770_000_000+time.Now().UnixNano()%1e8, 0)
	switch how {
	case "another key":
		key = testarchive.DebianKey()
	case "another text":
		text = append(text, "more\n"...)
	case "failure":
		return 1
	case "noise":
		os.Stdout.WriteString("noise")
		return 0
	}
	out := testarchive.DetachAll(signerTB{}, text, at, key)
	if os.Getenv("MMOCI_SIGN") == "clearsign" {
		out = testarchive.ClearsignAll(signerTB{}, text, at, key)
	}
	os.Stdout.Write(out)
	return 0
}

type signerTB struct{ testing.TB }

func (signerTB) Helper() {}

func commandSigning(t testing.TB, how string) signer.Command {
	return signer.Command{
		Command: []string{"env", "MMOCI_TEST_SIGNER=" + how, os.Args[0]},
		Keys:    world.Ring(t, testarchive.SiteKey()),
	}
}

// Equal bytes keep their signature, so that a push without change changes nothing.
func TestSigningCommandKeepsSignatures(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	d.pushing.Signer = commandSigning(t, "clock")
	d.pushing.State = "" // the whole way each time
	first, _, _ := d.push()
	again, _, _ := d.push()
	if again.Changed || again.Root != first.Root {
		t.Errorf("the same input became %s after %s", again.Root, first.Root)
	}
	if err := d.verify(d.pushing.Ref); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(d.own), "own2.deb"), testarchive.Package{Name: "own2", Version: "1", Architecture: "amd64"}.Deb(t), 0o600); err != nil {
		t.Fatal(err)
	}
	changed, _, _ := d.push()
	if !changed.Changed {
		t.Error("another input changed nothing")
	}
	if err := d.verify(d.pushing.Ref); err != nil {
		t.Error(err)
	}
}

// What a signing command prints is verified before anything is written.
func TestSigningCommandIsVerified(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"another key", "another text", "failure", "noise"} {
		d := newDaily(t, testregistry.Options{})
		d.pushing.Signer = commandSigning(t, how)
		if _, err := push.Run(t.Context(), d.pushing); err == nil || !strings.Contains(err.Error(), "signing command") {
			t.Errorf("%s: %v", how, err)
		}
		if log := d.registry.Requests(); log.Count("PUT", "") > 0 {
			t.Errorf("%s: something was written: %v", how, log)
		}
	}
	c := commandSigning(t, "clock")
	if _, err := c.Clearsign(bytes.Repeat([]byte("x\n"), 10), time.Now()); err != nil {
		t.Error(err)
	}
}
