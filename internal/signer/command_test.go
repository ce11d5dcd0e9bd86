package signer

import (
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive/pgp"
)

func shell(t *testing.T, script string) Command {
	t.Helper()
	ring, err := pgp.ReadKeyring(testarchive.SiteKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	return Command{Command: []string{"sh", "-c", script}, Keys: ring}
}

// TestCommandIsBounded: neither what a signing command prints nor how long it takes is up to the command.
func TestCommandIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script, want string
		timeout            time.Duration
	}{
		{"endless output", "yes", "printed more than", 0},
		{"no answer", "exec sleep 60", "no signature within 200ms", 200 * time.Millisecond},
		{"a child that keeps the output open", "sleep 60 & wait", "no signature within 200ms", 200 * time.Millisecond},
		{"a child that outlives it", "sleep 60 & exit 0", "keeps its output open", 0},
		{"failure", "exit 7", "exit status 7", 0},
		{"nothing", "cat >/dev/null", "signing command sh", 0},
		{"not the text", "echo noise", "signing command sh", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			command := shell(t, c.script)
			command.Timeout = c.timeout
			begin := time.Now()
			for how, sign := range map[string]func([]byte, time.Time) ([]byte, error){"clearsign": command.Clearsign, "detach": command.Detach} {
				if out, err := sign([]byte("text\n"), time.Unix(0, 0)); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %q, %v", how, out, err)
				}
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestCommandIsTold: the protocol of docs/signing.md, as a program sees it.
func TestCommandIsTold(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	c := shell(t, `echo "$MMOCI_SIGN $MMOCI_SIGN_TIME $1 $(cat)" >&2; exit 1`)
	c.Command, c.Stderr = append(c.Command, "name", "argument"), &said
	for _, sign := range []func([]byte, time.Time) ([]byte, error){c.Clearsign, c.Detach} {
		if _, err := sign([]byte("a text\n"), time.Unix(1767225600, 999)); err == nil {
			t.Error("no error")
		}
	}
	if want := "clearsign 1767225600 argument a text\ndetach 1767225600 argument a text\n"; said.String() != want {
		t.Errorf("it was told %q", said.String())
	}
}
