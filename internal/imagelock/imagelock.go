// Package imagelock reads and writes the lock of a container image: exactly which packages it has, and was made with. Pure.
package imagelock

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// Lock says exactly which packages an image has. It is not changed once it was read or made.
type Lock struct {
	Snapshot      snapshot.Digest // that it was made from, and its date; what is obeyed are the packages
	Date          time.Time
	Queries       []string // that it answers, sorted
	Architectures []Architecture
}

// Architecture is what a lock says of one architecture.
type Architecture struct {
	Name     string   // Debian's
	Scripts  string   // what was done with maintainer scripts: imageplan.Run or imageplan.None
	Sources  []Source // that packages were built of, by path
	Packages []Package
	// Helpers are packages that the image is made with and does not have: where scripts are run, what every Debian system has; else
	// the one with the lists of users.
	Helpers []Package
}

// Package is a package of a lock.
type Package struct {
	Name, Version, Architecture string
	Deb                         snapshot.Blob
	// Identity is that of the source that the site had it built of; zero: it is the snapshot's.
	Identity snapshot.Digest
}

// Source is a source of the plan with the identity of what was built of it.
type Source struct {
	Path     string // in the plan
	Identity snapshot.Digest
}

// String is NAME VERSION ARCHITECTURE DIGEST SIZE, and the identity of what was built of a source.
func (p Package) String() string {
	s := fmt.Sprintf("%s %s %s %s", p.Name, p.Version, p.Architecture, p.Deb)
	if !p.Identity.IsZero() {
		s += " " + p.Identity.String()
	}
	return s
}

// Query selects the package by name and version.
func (p Package) Query() string { return fmt.Sprintf("%s (= %s)", p.Name, p.Version) }

const head = "mmoci-image-lock-v1"

// MaxSize is the size limit of a lock, in bytes.
const MaxSize = 16 << 20

// Encode writes a lock: its lines in a fixed order, so that equal locks have equal bytes.
func (l *Lock) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nsnapshot %s %s\n", head, l.Snapshot, snapshot.FormatDate(l.Date))
	for _, q := range l.Queries {
		fmt.Fprintf(&b, "query %s\n", q)
	}
	for _, a := range l.Architectures {
		fmt.Fprintf(&b, "architecture %s scripts %s\n", a.Name, a.Scripts)
		for _, s := range a.Sources {
			fmt.Fprintf(&b, "source %s %s\n", s.Identity, s.Path)
		}
		for _, p := range a.Packages {
			fmt.Fprintf(&b, "package %s\n", p)
		}
		for _, p := range a.Helpers {
			fmt.Fprintf(&b, "helper %s\n", p)
		}
	}
	return b.Bytes()
}

// Parse reads a lock. Errors are of document.ErrUsage, with their line.
func Parse(name string, text []byte) (*Lock, error) {
	l := &Lock{}
	lines := strings.Split(string(text), "\n")
	if len(text) > MaxSize || lines[0] != head {
		return nil, document.Errorf(document.At(name, 1), "it does not begin with %s; \"mmoci image lock\" makes one", head)
	}
	if lines[len(lines)-1] != "" {
		return nil, document.Errorf(document.At(name, len(lines)), "the last line does not end")
	}
	for i, line := range lines[1 : len(lines)-1] {
		if err := l.line(i, line); err != nil {
			return nil, document.Errorf(document.At(name, i+2), "%w", err)
		}
	}
	if len(l.Architectures) == 0 {
		return nil, document.Errorf(document.At(name, len(lines)), "no architecture in it")
	}
	if !bytes.Equal(l.Encode(), text) {
		return nil, document.Errorf(document.At(name, 1), "not as it is written: lines out of order, twice, or with more blanks; \"mmoci image lock\" makes it anew")
	}
	return l, nil
}

func (l *Lock) line(n int, line string) (err error) {
	key, rest, _ := strings.Cut(line, " ")
	f := strings.Fields(rest)
	switch {
	case n == 0 && key == "snapshot" && len(f) == 2:
		if l.Snapshot, err = snapshot.ParseDigest(f[0]); err == nil {
			l.Date, err = time.Parse(time.RFC3339, f[1])
		}
		return err
	case n > 0 && key == "query" && rest != "" && len(l.Architectures) == 0:
		if n := len(l.Queries); n > 0 && l.Queries[n-1] >= rest {
			return fmt.Errorf("query %.80q is out of order", rest)
		}
		l.Queries = append(l.Queries, rest)
		return nil
	case n > 0 && key == "architecture" && len(f) == 3 && f[1] == "scripts" && (f[2] == imageplan.Run || f[2] == imageplan.None):
		if l.Of(f[0]) != nil {
			return fmt.Errorf("architecture %.40q stands twice", f[0])
		}
		l.Architectures = append(l.Architectures, Architecture{Name: f[0], Scripts: f[2]})
		return nil
	case key == "source" && len(f) > 1 && len(l.Architectures) > 0:
		a := &l.Architectures[len(l.Architectures)-1]
		s := Source{}
		digest, name, _ := strings.Cut(rest, " ")
		if s.Identity, err = snapshot.ParseDigest(digest); err != nil {
			return err
		}
		s.Path = name
		if n := len(a.Sources); n > 0 && a.Sources[n-1].Path >= s.Path || len(a.Packages)+len(a.Helpers) > 0 {
			return fmt.Errorf("source %.80q is out of order", s.Path)
		}
		a.Sources = append(a.Sources, s)
		return nil
	case (key == "package" || key == "helper") && (len(f) == 5 || len(f) == 6) && len(l.Architectures) > 0:
		p := Package{Name: f[0], Version: f[1], Architecture: f[2]}
		if p.Deb, err = snapshot.ParseBlob(f[3], f[4]); err == nil && p.Deb.Size == 0 {
			err = errors.New("size 0")
		}
		if err != nil {
			return err
		}
		a := &l.Architectures[len(l.Architectures)-1]
		if len(f) == 6 {
			if p.Identity, err = snapshot.ParseDigest(f[5]); err != nil {
				return err
			}
			if !slices.ContainsFunc(a.Sources, func(s Source) bool { return s.Identity == p.Identity }) {
				return fmt.Errorf("package %.80q is built of %s, which is no source of the architecture", p.Name, p.Identity)
			}
		}
		list := &a.Packages
		if key == "helper" {
			list = &a.Helpers
		} else if len(a.Helpers) > 0 {
			return fmt.Errorf("package %.80q stands behind a helper", p.Name)
		}
		if n := len(*list); n > 0 && (*list)[n-1].Name >= p.Name {
			return fmt.Errorf("package %.80q is out of order", p.Name)
		}
		*list = append(*list, p)
		return nil
	}
	return fmt.Errorf("%.80q is no line of a lock, or stands in a wrong place", line)
}

// Of is what the lock says of an architecture; nil: nothing.
func (l *Lock) Of(arch string) *Architecture {
	for i := range l.Architectures {
		if l.Architectures[i].Name == arch {
			return &l.Architectures[i]
		}
	}
	return nil
}

// Answers tells why a lock is none for what is asked for.
func (l *Lock) Answers(queries, archs []string) error {
	if !slices.Equal(l.Queries, queries) {
		return fmt.Errorf("%w: the lock answers %q, the plan asks for %q; \"mmoci image lock\" makes it anew", outcome.ErrUsage, l.Queries, queries)
	}
	for _, a := range archs {
		if l.Of(a) == nil {
			return fmt.Errorf("%w: the lock has nothing for architecture %s; \"mmoci image lock\" makes it anew", outcome.ErrUsage, a)
		}
	}
	return nil
}

// Queries name each package with its version.
func Queries(packages []Package) []string {
	var out []string
	for _, p := range packages {
		out = append(out, p.Query())
	}
	return out
}

// Same tells why what was chosen is not what is locked.
func (a *Architecture) Same(got Architecture) error {
	if err := samePackages(a.Packages, got.Packages); err != nil {
		return err
	}
	return samePackages(a.Helpers, got.Helpers)
}

func samePackages(locked, got []Package) error {
	have := map[Package]bool{}
	for _, p := range got {
		have[p] = true
	}
	for _, p := range locked {
		if !have[p] {
			return fmt.Errorf("the lock names %s %s %s with %s, which is %w in the snapshot", p.Name, p.Version, p.Architecture, p.Deb.Digest, outcome.ErrNotFound)
		}
		delete(have, p)
	}
	for _, p := range got {
		if have[p] {
			return fmt.Errorf("%w: package %s %s, which the locked ones need, is not in the lock; \"mmoci image lock\" makes it anew", outcome.ErrNotFound, p.Name, p.Version)
		}
	}
	return nil
}
