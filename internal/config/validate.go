package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// Targets are the names that drop: knows, the optional targets of an archive.
func Targets() []string { return []string{"cnf", "contents", "dep11", "translation"} }

// Validate holds for a plan from flags what Load holds for a file: prefixes
// valid, not reserved, not twice; each archive complete. A plan without archives is
// valid: pull and serve need none. All that is wrong is told in one error.
func (p *Plan) Validate() error {
	at := document.Position{File: p.File}
	var faults document.Faults
	if p.Sign != nil {
		if err := p.Sign.validate(); err != nil {
			faults.Add(document.Errorf(at, "sign: %w", err))
		}
	}
	if p.ValidFor < 0 {
		faults.Add(document.Errorf(at, "valid-for: is negative"))
	}
	for _, l := range p.Serve.Listen {
		if err := CheckListen(l); err != nil {
			faults.Add(document.Errorf(at, "serve: listen: %w", err))
		}
	}
	if s := p.Serve; s.FreshFor > 0 && s.StaleAfter > 0 && s.FreshFor > s.StaleAfter {
		faults.Add(document.Errorf(at, "serve: fresh-for: is more than stale-after"))
	}
	if err := p.nameImages(); err != nil {
		return err
	}
	seen := map[string]*Archive{}
	for i := range p.Archives {
		a := &p.Archives[i]
		for _, err := range a.validate() {
			faults.Add(document.Errorf(a.Position, "%w", err))
		}
		if first := seen[a.Prefix]; first != nil && a.Prefix != "" {
			faults.Add(document.Errorf(a.Position, "%s has the prefix of %s; give one of them another prefix", a.describe(), first.describe()))
		}
		seen[a.Prefix] = a
	}
	faults.Add(p.validOthers(seen))
	faults.Add(p.validPackages())
	return faults.Err()
}

// CheckListen tells what is wrong with an address to listen at: it is HOST:PORT, :PORT or unix:PATH.
func CheckListen(s string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return fmt.Errorf("%q has no path", s)
		}
		return nil
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return fmt.Errorf("%q is not of the form HOST:PORT or :PORT; 127.0.0.1:%s is for this host alone, :%s for all", s, s, s)
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not of the form HOST:PORT or :PORT", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port number", s)
	}
	return nil
}

// validate tells what is wrong with an archive.
func (a *Archive) validate() (faults []error) {
	if err := ValidPrefix(a.Prefix); err != nil {
		faults = append(faults, err)
	}
	steps := []func() error{a.validPlace}
	if !a.Own() {
		steps = append(steps, a.validURLs, a.validSuites, a.validArchitectures)
	}
	steps = append(steps, func() error {
		// What is chosen depends on the mode.
		if !a.Own() {
			if err := a.validMode(); err != nil {
				return err
			}
		}
		return a.validSelection()
	}, a.validBuildDepends)
	for _, step := range steps {
		if err := step(); err != nil {
			faults = append(faults, fmt.Errorf("archive %s: %w", a.Prefix, err))
		}
	}
	return faults
}

// ValidPrefix tells what is wrong with the name of an archive.
func ValidPrefix(p string) error {
	if p == "" {
		return errors.New("archive without a prefix; give it one, the directory that it is served under")
	}
	err := snapshot.ValidPrefix(p)
	if err == nil {
		return nil
	}
	better := strings.Trim(strings.Map(func(r rune) rune {
		if strings.ContainsRune("_/ ", r) {
			return '-'
		}
		return r
	}, strings.ToLower(p)), "-./+")
	if better != p && snapshot.ValidPrefix(better) == nil {
		return fmt.Errorf("%w; write %s", err, better)
	}
	return fmt.Errorf("%w; choose another", err)
}

// validPlace tells whether the archive is either of debs: or of url:.
func (a *Archive) validPlace() error {
	if len(a.Files) > 0 {
		return nil // a list names them
	}
	if a.Debs != "" && len(a.Sources) > 0 {
		return errors.New("both debs: and sources:; write two archives")
	}
	if a.Debs == "" && len(a.Sources) == 0 {
		if len(a.URLs) == 0 {
			return errors.New("neither url: nor debs:; write url: with the address of the archive, or debs: with a directory of .debs")
		}
		return nil
	}
	for _, x := range []struct {
		key string
		set bool
	}{
		{"url", len(a.URLs) > 0}, {"suites", len(a.Suites) > 0}, {"components", len(a.Components) > 0},
		{"signed-by", a.SignedBy != "" || a.SignedByURL != ""}, {"drop", len(a.Drop) > 0}, {"languages", len(a.Languages) > 0},
		{"mode: verbatim", a.Verbatim}, {"unnamed-release", a.UnnamedRelease}, {"phased: no", a.SkipPhased},
		{"ca", a.CAFile != ""}, {"client-cert", a.ClientCert != ""}, {"auth", a.AuthFile != ""},
	} {
		if x.set {
			own := "debs:"
			if a.Debs == "" {
				own = "sources:"
			}
			return fmt.Errorf("%s has no meaning for %s, whose suite is the prefix and whose component is main; remove it", x.key, own)
		}
	}
	return a.validArchitectures()
}

func (a *Archive) validURLs() error {
	for i, u := range a.URLs {
		if err := validURL(u); err != nil {
			if address, _, ok := strings.Cut(u, "?"); ok {
				u = address + "?***" // it may hold a token
			}
			return fmt.Errorf("url: %s: %w", u, err)
		}
		if slices.Contains(a.URLs[:i], u) {
			return fmt.Errorf("url: %s stands twice", u)
		}
	}
	if a.SignedBy != "" && a.SignedByURL != "" {
		return errors.New("signed-by: a file and a URL; keep one of them")
	}
	if a.SignedByURL == "" {
		return nil
	}
	// A key server's address has a query; that is fine here.
	if u, err := url.Parse(a.SignedByURL); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("signed-by: %s: not a URL", a.SignedByURL)
	}
	return nil
}

// HasScheme tells a URL of whatever kind from a directory; one whose name looks like a URL is written ./NAME.
func HasScheme(s string) bool {
	scheme, _, ok := strings.Cut(s, ":")
	return ok && len(scheme) > 1 && strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// validURL tells why a place cannot be an upstream. Errors of net/url quote
// what they could not read, so they are not passed on.
func validURL(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("holds a control character")
	}
	if !HasScheme(s) {
		return nil // a directory
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("not a URL; characters such as @ and / in a password are written %40 and %2F")
	}
	switch {
	case u.Scheme == "file":
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
			return errors.New("not of the form file:///DIRECTORY")
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q; known are http, https, file and plain directories", u.Scheme)
	case u.Hostname() == "":
		return errors.New("no host")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("has a query or fragment; files are asked for below it, so it cannot")
	}
	return nil
}

// IsFlat tells the suite of a flat archive, which has no components: it ends in a slash (sources.list(5)).
func IsFlat(suite string) bool { return strings.HasSuffix(suite, "/") }

func (a *Archive) validSuites() error {
	if len(a.Suites) == 0 {
		return errors.New("no suites:; write suites: [NAME] as it stands under dists/, or [./] for a flat archive")
	}
	if err := words("suites", a.Suites, validSuite); err != nil {
		return err
	}
	if slices.ContainsFunc(a.Suites, IsFlat) {
		if !slices.ContainsFunc(a.Suites, func(s string) bool { return !IsFlat(s) }) {
			if len(a.Components) > 0 {
				return fmt.Errorf("components: a flat archive (suite %s) has none; remove them", a.Suites[0])
			}
			return nil
		}
		return errors.New("suites: flat ones (with a final slash) and others together; make two archives of it")
	}
	if len(a.Components) == 0 {
		return errors.New("no components:; write components: [main] or what the archive's Release lists")
	}
	return words("components", a.Components, validComponent)
}

// words holds validity and "each once" for a list.
func words(key string, list []string, valid func(string) error) error {
	for i, s := range list {
		if err := valid(s); err != nil {
			return fmt.Errorf("%s: %q %w", key, s, err)
		}
		if slices.Contains(list[:i], s) {
			return fmt.Errorf("%s: %s stands twice", key, s)
		}
	}
	return nil
}

func validSuite(s string) error {
	if rest, ok := strings.CutPrefix(s, "dists/"); ok && rest != "" && !IsFlat(s) {
		return fmt.Errorf("begins with dists/; write %s", rest)
	}
	if s == "./" {
		return nil
	}
	if s == "/" {
		return errors.New("is no path below the archive; write ./")
	}
	return validPart(strings.TrimPrefix(strings.TrimSuffix(s, "/"), "./"))
}

func validComponent(s string) error { return validPart(s) }

func validPart(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\u00a0' }) {
		return errors.New("holds a blank; separate names by commas")
	}
	if err := snapshot.ValidPath(s); err != nil {
		return errors.New("is no relative path")
	}
	return nil
}

func (a *Archive) validArchitectures() error {
	if len(a.Architectures) == 0 {
		if a.Debs != "" || len(a.Sources) > 0 {
			return nil
		}
		return errors.New("no architectures:; write architectures: [amd64] or what the hosts are")
	}
	return words("architectures", a.Architectures, ValidArchitecture)
}

// ValidArchitecture tells what is wrong with a word for an architecture.
func ValidArchitecture(s string) error {
	switch s {
	case "all":
		return errors.New("is no architecture of a host; packages for all come along with each")
	case "any":
		return errors.New("is a wildcard; name the architectures")
	case "source":
		return errors.New("is no architecture here; write with-sources: yes")
	}
	for _, r := range s {
		if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-') {
			return errors.New("is no architecture; they are written like amd64, arm64, armhf")
		}
	}
	return nil
}

func (a *Archive) validMode() error {
	if !a.Verbatim {
		if len(a.Drop) > 0 {
			return errors.New("drop: is for mode verbatim; a curated archive has no optional targets")
		}
		return nil
	}
	if a.None || len(a.Packages) > 0 {
		return errors.New("packages: a verbatim archive is taken whole; remove it, or write mode: curated")
	}
	if a.Origin != "" || a.Label != "" || a.Codename != "" {
		return errors.New("origin, label and codename stand in upstream's signed Release, so a verbatim archive keeps them; remove the key, or write mode: curated")
	}
	return words("drop", a.Drop, func(s string) error {
		if slices.Contains(Targets(), s) {
			return nil
		}
		if near := document.Nearest(s, Targets()); near != "" {
			return fmt.Errorf("is no optional target; did you mean %s?", near)
		}
		return fmt.Errorf("is no optional target; known are %s", strings.Join(Targets(), ", "))
	})
}

func (a *Archive) validSelection() error {
	chosen := 0
	for _, set := range []bool{len(a.Packages) > 0, a.None, a.All} {
		if set {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return errors.New("packages: two of none, all and a list; keep one")
	case chosen == 0 && !a.Verbatim && len(a.BuildDepends) == 0:
		return errors.New("no packages:; write packages: with a list, none (only what others need of it) or all, or a list of packages at the top, for all archives")
	}
	for _, q := range a.Packages {
		if strings.TrimSpace(q.Text) == "" {
			return errors.New("packages: an empty query")
		}
	}
	return nil
}
