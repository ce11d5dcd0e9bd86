package imagebuild

import (
	"bytes"
	"fmt"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/snapshot"
)

// Account tells what was done with the maintainer scripts of an image: a line for each script of each package, and one for
// each thing that was made in place of scripts.
type Account struct {
	Architectures []AccountArchitecture
}

// AccountArchitecture is the account of one architecture.
type AccountArchitecture struct {
	Name    string // Debian's
	Scripts []AccountScript
	Fixups  []string // "NAME: what was made"
}

// AccountScript is one script, or a package without any.
type AccountScript struct {
	Package, Version, Architecture string
	Script                         string          // preinst, postinst, prerm, postrm, config; "-": the package has none
	Digest                         snapshot.Digest // zero: none
	Did                            string          // one of the values below
	Why                            string          // "": nothing more is to be said
}

// The values of AccountScript.Did.
const (
	DidNone   = "none"    // there is no script
	DidNoOp   = "no-op"   // it has nothing to do in a new root
	DidNotRun = "not-run" // it was left out
)

const accountHead = "mmoci-image-account-v1"

// accountOf is the account of an image in which no script was run.
func accountOf(im *Image) *Account {
	out := &Account{}
	for _, a := range im.Architectures {
		acc := AccountArchitecture{Name: a.Name, Fixups: a.Fixups}
		for _, n := range a.Notes {
			line := AccountScript{Package: n.Name(), Version: n.Version(), Architecture: n.Architecture(), Script: "-", Did: DidNone}
			if len(n.Scripts) == 0 {
				acc.Scripts = append(acc.Scripts, line)
			}
			for _, s := range n.Scripts {
				line.Script, line.Digest = s.Name, s.Digest
				line.Did, line.Why = didNot(s)
				acc.Scripts = append(acc.Scripts, line)
			}
		}
		out.Architectures = append(out.Architectures, acc)
	}
	return out
}

// didNot is what is said of a script that was not run.
func didNot(s rootfs.Script) (did, why string) {
	switch {
	case s.Name == "prerm" || s.Name == "postrm":
		return DidNoOp, "a new root calls it never"
	case s.Own:
		return DidNotRun, "scripts: none; it has code of its own"
	case len(s.Tools) == 0:
		return DidNoOp, "it has no code"
	}
	return DidNotRun, "scripts: none; blocks of " + strings.Join(s.Tools, ", ")
}

// Encode writes an account as text, a line for each thing.
func (a *Account) Encode() []byte {
	var b bytes.Buffer
	b.WriteString(accountHead + "\n")
	for _, arch := range a.Architectures {
		fmt.Fprintf(&b, "architecture %s\n", arch.Name)
		for _, s := range arch.Scripts {
			digest := "-"
			if !s.Digest.IsZero() {
				digest = s.Digest.String()
			}
			fmt.Fprintf(&b, "script %s %s %s %s %s %s", s.Package, s.Version, s.Architecture, s.Script, digest, s.Did)
			if s.Why != "" {
				b.WriteString(" " + s.Why)
			}
			b.WriteString("\n")
		}
		for _, f := range arch.Fixups {
			fmt.Fprintf(&b, "fixup %s\n", strings.ReplaceAll(f, "\n", " "))
		}
	}
	return b.Bytes()
}

// ParseAccount reads an account. Errors are of document.ErrUsage, with their line.
func ParseAccount(name string, text []byte) (*Account, error) {
	out := &Account{}
	lines := strings.Split(string(text), "\n")
	if lines[0] != accountHead || lines[len(lines)-1] != "" {
		return nil, document.Errorf(document.At(name, 1), "it is no account: it begins with %s, and its last line ends", accountHead)
	}
	for i, line := range lines[1 : len(lines)-1] {
		key, rest, _ := strings.Cut(line, " ")
		n := len(out.Architectures)
		f := strings.SplitN(rest, " ", 7)
		switch {
		case key == "architecture" && rest != "" && !strings.Contains(rest, " "):
			out.Architectures = append(out.Architectures, AccountArchitecture{Name: rest})
			continue
		case key == "fixup" && n > 0 && rest != "":
			out.Architectures[n-1].Fixups = append(out.Architectures[n-1].Fixups, rest)
			continue
		case key != "script" || n == 0 || len(f) < 6:
			return nil, document.Errorf(document.At(name, i+2), "%.80q is no line of an account, or stands in a wrong place", line)
		}
		s := AccountScript{Package: f[0], Version: f[1], Architecture: f[2], Script: f[3], Did: f[5]}
		if f[4] != "-" {
			var err error
			if s.Digest, err = snapshot.ParseDigest(f[4]); err != nil {
				return nil, document.Errorf(document.At(name, i+2), "%w", err)
			}
		}
		if len(f) == 7 {
			s.Why = f[6]
		}
		out.Architectures[n-1].Scripts = append(out.Architectures[n-1].Scripts, s)
	}
	return out, nil
}
