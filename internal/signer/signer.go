// Package signer holds the keys of a site and of its upstreams: key files and
// passphrases, signing by a command, rotation, and keys that come from the network.
package signer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// maxKey bounds a key file.
const maxKey = 4 << 20

// ReadKeyrings reads key files into one keyring.
func ReadKeyrings(files ...string) (*pgp.Keyring, error) {
	var rings []*pgp.Keyring
	for _, f := range files {
		data, err := ReadKeyFile(f)
		if err != nil {
			return nil, err
		}
		k, err := pgp.ReadKeyring(data)
		if err != nil {
			return nil, fmt.Errorf("%w: keyring %s: %w", outcome.ErrUsage, f, err)
		}
		rings = append(rings, k)
	}
	return pgp.JoinKeyrings(rings...), nil
}

// ReadKeyFile reads a key file, of a size that a key file can have.
func ReadKeyFile(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", outcome.ErrUsage, err)
	}
	if st.Size() > maxKey {
		return nil, fmt.Errorf("%w: keyring %s: %d bytes is more than a keyring should have", outcome.ErrUsage, file, st.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", outcome.ErrUsage, err)
	}
	return data, nil
}

// Signer loads the site's signing key as the plan says; nil if it says
// unsigned. trust are the site's public key files, by which a signing command is verified.
func Signer(s *config.Sign, trust []string, env func(string) string, stderr io.Writer) (pgp.Signer, error) {
	if s == nil {
		return nil, nil
	}
	if len(s.Command) > 0 {
		return newCommand(s, trust, stderr)
	}
	data, err := os.ReadFile(s.Key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: signing key: %w", outcome.ErrUsage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: signing key: %w (make one with: mmoci key new -o %s)", outcome.ErrUsage, err, s.Key)
	}
	signer, err := pgp.ReadSigner(data, func() ([]byte, error) { return passphrase(s, env, stderr) })
	if err != nil {
		return nil, fmt.Errorf("%w: signing key %s: %w", outcome.ErrUsage, s.Key, err)
	}
	return signer, nil
}

// passphrase gets the signing key's passphrase: from the file, the command, or
// the environment (RELEASE_SIGN_KEY_PASSPHRASE is mini-mirror's name for it).
// Never from the argument vector, which every user of the machine can read.
func passphrase(s *config.Sign, env func(string) string, stderr io.Writer) ([]byte, error) {
	switch {
	case s.PassphraseFile != "":
		data, err := os.ReadFile(s.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return bytes.TrimRight(data, "\r\n"), nil
	case len(s.PassphraseCmd) > 0:
		cmd := exec.Command(s.PassphraseCmd[0], s.PassphraseCmd[1:]...)
		cmd.Stderr, cmd.WaitDelay = stderr, killDelay
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("passphrase command %s: %w", s.PassphraseCmd[0], err)
		}
		return bytes.TrimRight(out, "\r\n"), nil
	}
	for _, name := range []string{"MMOCI_SIGN_PASSPHRASE", "RELEASE_SIGN_KEY_PASSPHRASE"} {
		if v := env(name); v != "" {
			return []byte(v), nil
		}
	}
	return nil, errors.New("the key is locked: set MMOCI_SIGN_PASSPHRASE, or under sign: give passphrase-file: or passphrase-command: (a file, or a program that prints it)")
}

// commandTimeout bounds one signature: somebody may have to touch a token.
const commandTimeout = 5 * time.Minute

// killDelay is how long the output of a command that was ended may stay open: what it
// had started itself goes on.
const killDelay = 2 * time.Second

// maxSigned bounds what a signing command may print: the text and its signatures.
const maxSigned = snapshot.MaxRelease + 1<<20

// Command signs by a program: an agent, an HSM, a signing service. It gets
// the text on stdin and prints an ASCII-armoured OpenPGP message: the clear-signed
// text if MMOCI_SIGN is "clearsign", a detached signature if it is
// "detach". MMOCI_SIGN_TIME is the wanted signature time in seconds since
// 1970, for programs that can (gpg --faked-system-time); Keys are what
// verify it, always, before anything is written. docs/signing.md of artifacts is
// the protocol for those who write such a program.
type Command struct {
	Command []string
	Keys    *pgp.Keyring
	Stderr  io.Writer     // nil: what it says there is lost
	Timeout time.Duration // for one signature; 0 means five minutes
}

// Public implements archive.Signer.
func (c Command) Public() *pgp.Keyring { return c.Keys }

// Clearsign implements archive.Signer. The text must come back byte for byte.
func (c Command) Clearsign(text []byte, t time.Time) ([]byte, error) {
	out, err := c.run("clearsign", text, t)
	if err != nil {
		return nil, err
	}
	got, _, err := pgp.VerifyClearsigned(out, pgp.Trust{Keyring: c.Keys})
	if err == nil && !bytes.Equal(got, text) {
		err = errors.New("it signed another text")
	}
	if err != nil {
		return nil, fmt.Errorf("signing command %s: %w", c.Command[0], err)
	}
	return out, nil
}

// Detach implements archive.Signer.
func (c Command) Detach(text []byte, t time.Time) ([]byte, error) {
	out, err := c.run("detach", text, t)
	if err != nil {
		return nil, err
	}
	if _, err := pgp.VerifyDetached(text, out, pgp.Trust{Keyring: c.Keys}); err != nil {
		return nil, fmt.Errorf("signing command %s: %w", c.Command[0], err)
	}
	return out, nil
}

func (c Command) run(what string, text []byte, t time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout())
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), "MMOCI_SIGN="+what, fmt.Sprintf("MMOCI_SIGN_TIME=%d", t.Unix()))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), c.Stderr
	cmd.WaitDelay = killDelay
	out := &limited{left: maxSigned}
	cmd.Stdout = out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("signing command %s: no signature within %s", c.Command[0], c.timeout())
	case out.left < 0: // and the command died of its closed output
		return nil, fmt.Errorf("signing command %s: it printed more than %d bytes", c.Command[0], maxSigned)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("signing command %s: it ended, and a program that it started keeps its output open; give that one another standard output", c.Command[0])
	case err != nil:
		return nil, fmt.Errorf("signing command %s: %w", c.Command[0], err)
	}
	return out.text.Bytes(), nil
}

func (c Command) timeout() time.Duration { return cmp.Or(c.Timeout, commandTimeout) }

// limited is a buffer that takes so much and no more. It is no io.ReaderFrom, as a
// bytes.Buffer is: that would read past the limit.
type limited struct {
	text bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("more than %d bytes", maxSigned)
	}
	return l.text.Write(p)
}

// reusing gives an equal text the signature that it has in the snapshot that is
// to be replaced. A signing command may put its own time into each signature; so
// equal input gives equal bytes all the same.
type reusing struct {
	pgp.Signer
	clear  [][]byte // clear-signed texts of the old snapshot
	detach [][]byte
}

// ReuseSignatures reads the signatures of the snapshot that is to be replaced.
// What cannot be read is not reused.
func ReuseSignatures(ctx context.Context, s pgp.Signer, old *snapshot.Snapshot) pgp.Signer {
	if _, ok := s.(Command); !ok || old == nil {
		return s // a key signs equal texts alike
	}
	r := &reusing{Signer: s}
	if old.Signed {
		r.clear = append(r.clear, old.StatementBytes)
	}
	for _, a := range old.Statement.Archives {
		for _, suite := range a.Suites {
			for _, f := range suite.Files {
				switch f.Role {
				case snapshot.InRelease, snapshot.ReleaseGPG, snapshot.SumsSig, snapshot.RepomdAsc:
				default:
					continue
				}
				if a.Mode == snapshot.Verbatim {
					continue
				}
				data, err := old.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
				if err != nil {
					continue
				}
				if f.Role == snapshot.InRelease {
					r.clear = append(r.clear, data)
				} else {
					r.detach = append(r.detach, data)
				}
			}
		}
	}
	return r
}

// Clearsign implements archive.Signer.
func (r *reusing) Clearsign(text []byte, t time.Time) ([]byte, error) {
	for _, data := range r.clear {
		if got, _, err := pgp.VerifyClearsigned(data, pgp.Trust{Keyring: r.Public()}); err == nil && bytes.Equal(got, text) {
			return data, nil
		}
	}
	return r.Signer.Clearsign(text, t)
}

// Detach implements archive.Signer.
func (r *reusing) Detach(text []byte, t time.Time) ([]byte, error) {
	for _, sig := range r.detach {
		if _, err := pgp.VerifyDetached(text, sig, pgp.Trust{Keyring: r.Public()}); err == nil {
			return sig, nil
		}
	}
	return r.Signer.Detach(text, t)
}

// newCommand makes the signer of sign: command:, whose public half is the site's trust.
func newCommand(s *config.Sign, trust []string, stderr io.Writer) (pgp.Signer, error) {
	if len(trust) == 0 {
		return nil, fmt.Errorf("%w: what sign: command: signs must be verified: the public half is not under trust: in mmoci.yaml", outcome.ErrUsage)
	}
	ring, err := ReadKeyrings(trust...)
	if err != nil {
		return nil, err
	}
	return Command{Command: s.Command, Keys: ring, Stderr: stderr}, nil
}

// Keyrings are the public keys that the configuration names: the site's, for
// the .sources texts, under "", and those of upstreams by their prefix as far
// as they can be read here; whoever serves relies on none of them. plan may be nil.
func Keyrings(plan *config.Plan) (map[string]*pgp.Keyring, error) {
	rings := map[string]*pgp.Keyring{}
	if plan == nil {
		return rings, nil
	}
	var err error
	if len(plan.Trust) > 0 {
		if rings[""], err = ReadKeyrings(plan.Trust...); err != nil {
			return nil, err
		}
	}
	for prefix, file := range plan.SignedBy() {
		if ring, err := ReadKeyrings(file); err == nil {
			rings[prefix] = ring
		}
	}
	return rings, nil
}
