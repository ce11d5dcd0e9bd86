package rpm

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Package is what a primary.xml says of one package.
type Package struct {
	Name, Arch string
	Version    string // EPOCH:VERSION-RELEASE; without EPOCH where that is 0
	Source     string // the name of the source package; its own name where there is none
	Path       string // below the repository
	Checksum   Checksum
	Size       int64 // bytes of the file; -1: not said
}

// ReadPrimary hands each package of a primary.xml to f, in the order of the file. Errors wrap ErrMalformed, or are those of
// r and f. The memory it takes does not depend on how many there are.
func ReadPrimary(r io.Reader, f func(Package) error) error {
	return readPrimary(newScanner("primary.xml", &limited{r: r, left: MaxPrimary}), f)
}

func readPrimary(s *scanner, f func(Package) error) error {
	if _, err := s.root("metadata", spaceCommon); err != nil {
		return err
	}
	packages := 0
	err := s.children(func(e xml.StartElement) error {
		if e.Name.Local != "package" {
			return nil
		}
		if err := s.known(e.Name, spaceCommon); err != nil {
			return err
		}
		if kind := attribute(e, "type"); kind != "rpm" && kind != "" {
			return nil
		}
		if packages++; packages > MaxPackages {
			return s.errorf("more than %d packages", MaxPackages)
		}
		p, err := s.pkg()
		if err != nil {
			return err
		}
		return f(p)
	})
	if err != nil {
		return err
	}
	return s.finish()
}

var errTooLong = errors.New("longer than expected")

// limited is an io.LimitedReader whose end is an error.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		// At its end, the reader below may have ended, too.
		if n, err := l.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, errTooLong
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

// pkg reads the open package.
func (s *scanner) pkg() (Package, error) {
	p := Package{Size: -1}
	seen := map[string]bool{}
	var sourceRPM string
	err := s.children(func(e xml.StartElement) (err error) {
		name := e.Name.Local
		switch name {
		case "name", "arch", "version", "checksum", "size", "location":
			if err := s.known(e.Name, spaceCommon); err != nil {
				return err
			}
		case "format":
			return s.children(func(e xml.StartElement) (err error) {
				if e.Name.Local == "sourcerpm" && e.Name.Space == spaceRPM {
					sourceRPM, err = s.text()
				}
				return err
			})
		default:
			return nil
		}
		if seen[name] {
			return s.errorf("package %s has two elements %s", shorten(p.Name), name)
		}
		seen[name] = true
		switch name {
		case "name":
			p.Name, err = s.text()
		case "arch":
			p.Arch, err = s.text()
		case "version":
			p.Version = version(attribute(e, "epoch"), attribute(e, "ver"), attribute(e, "rel"))
		case "checksum":
			kind := attribute(e, "type")
			var text string
			if text, err = s.text(); err != nil {
				return err
			}
			if p.Checksum, err = ParseChecksum(kind, text); err != nil {
				return s.at(err)
			}
		case "size":
			if text := attribute(e, "package"); text != "" {
				p.Size, err = s.size(text)
			}
		case "location":
			p.Path, err = s.location(e)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	for _, need := range []string{"name", "arch", "version", "checksum", "location"} {
		if !seen[need] {
			return p, s.errorf("package %s has no %s", shorten(p.Name), need)
		}
	}
	switch {
	case !word(p.Name) || !word(p.Arch) || !word(p.Version):
		return p, s.errorf("a package whose name, version and architecture are %q, %q, %q", shorten(p.Name), shorten(p.Version), shorten(p.Arch))
	case !strings.HasSuffix(p.Path, ".rpm"):
		return p, s.errorf("package %s is at %q, which is no .rpm", p.Name, shorten(p.Path))
	case strings.HasPrefix(p.Path, Repodata):
		return p, s.errorf("package %s is among the metadata, at %q", p.Name, shorten(p.Path))
	}
	if p.Source = sourceName(sourceRPM); p.Source == "" {
		p.Source = p.Name
	}
	return p, nil
}

// word tells whether s may be a name, a version or an architecture.
func word(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == 0xfffd })
}

// version writes epoch, version and release as rpm does.
func version(epoch, ver, rel string) string {
	if ver == "" {
		return ""
	}
	if rel != "" {
		ver += "-" + rel
	}
	if epoch != "" && epoch != "0" {
		ver = epoch + ":" + ver
	}
	return ver
}

// sourceName is the name in NAME-VERSION-RELEASE.src.rpm; "" if that is not its form.
func sourceName(file string) string {
	s, ok := strings.CutSuffix(file, ".rpm")
	if !ok {
		return ""
	}
	for range 2 { // release with .src or .nosrc, version
		i := strings.LastIndexByte(s, '-')
		if i < 1 {
			return ""
		}
		s = s[:i]
	}
	if !word(s) {
		return ""
	}
	return s
}
