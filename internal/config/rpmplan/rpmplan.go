// Package rpmplan reads an entry of archives: whose format is rpm: where a repository is, by whose key it is proved, or
// the directory of own RPMs that one is made of.
package rpmplan

import (
	"fmt"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// Archive is what such an entry says. Either RPMs is set, or URLs, Metalink or both are.
type Archive struct {
	Prefix      string
	URLs        []string // of the repository, which has repodata/ in it, in order of preference; a directory is a file path
	Metalink    string   // URL or file; its places come behind URLs
	RPMs        string   // directory of own RPMs
	SignedBy    string   // keyring file; "": the site vouches for the repository
	SignedByURL string   // a key from the network
	CAFile      string
	ClientCert  string
	AuthFile    string
}

// Parse reads an entry. The keys of a .deb archive that mean nothing here are refused with what to do about them.
func Parse(n document.Node) (*Archive, error) {
	a := &Archive{}
	p := parser{filepath.Dir(n.File)}
	verbatim := ""
	refuse := func(why string) func(document.Node) error {
		return func(n document.Node) error { return n.Errorf("%s", why) }
	}
	const whole = "is for .deb archives: an RPM repository is held whole, as its repomd.xml lists it; leave it out"
	fields := document.Fields{
		"prefix":      text(&a.Prefix),
		"format":      func(document.Node) error { return nil },
		"mode":        text(&verbatim),
		"url":         p.urls(&a.URLs),
		"metalink":    p.location(&a.Metalink),
		"rpms":        p.file(&a.RPMs),
		"signed-by":   p.key(a),
		"ca":          p.file(&a.CAFile),
		"client-cert": p.file(&a.ClientCert),
		"auth":        p.file(&a.AuthFile),
	}
	for _, key := range []string{"packages", "packages-from", "suites", "components", "architectures", "languages", "drop", "with-sources"} {
		fields[key] = refuse(whole)
	}
	fields["debs"] = refuse("is a directory of .debs; write rpms: DIR")
	err := n.Mapping(fields)
	if err != nil {
		return nil, err
	}
	own := a.RPMs != ""
	switch {
	case a.Prefix == "":
		return nil, n.Errorf("archive without prefix:; write prefix: NAME, the directory that it is served under")
	case own && (len(a.URLs) > 0 || a.Metalink != ""):
		return nil, n.Errorf("archive %s: both rpms: and url: or metalink:; make two archives of it", a.Prefix)
	case own && (a.SignedBy != "" || a.SignedByURL != ""):
		return nil, n.Errorf("archive %s: signed-by: with rpms:; the site signs what is made of own RPMs, leave it out", a.Prefix)
	case !own && len(a.URLs) == 0 && a.Metalink == "":
		return nil, n.Errorf("archive %s: nothing to read it from; write url: URL (the directory with repodata/ in it), metalink: URL, or rpms: DIR", a.Prefix)
	case verbatim != "" && verbatim != a.Mode():
		return nil, n.Errorf("archive %s: mode: %s; it is %s, leave mode: out", a.Prefix, document.OneLine(verbatim), a.Mode())
	}
	return a, nil
}

// Mode is how the repository is held: an upstream's verbatim, own RPMs curated.
func (a *Archive) Mode() string {
	if a.RPMs != "" {
		return "curated"
	}
	return "verbatim"
}

type parser struct{ dir string }

func (p parser) path(s string) string {
	if filepath.IsAbs(s) {
		return filepath.Clean(s)
	}
	return filepath.Join(p.dir, s)
}

func text(to *string) func(document.Node) error {
	return func(n document.Node) (err error) {
		*to, err = n.Text()
		return err
	}
}

// isURL tells a URL of a web server.
func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// place is a URL as it is, or a path relative to the file.
func (p parser) place(n document.Node, s string) (string, error) {
	switch {
	case isURL(s), strings.HasPrefix(s, "file://"):
		return s, nil
	case strings.Contains(s, "://"):
		return "", n.Errorf("%s: is neither http, https nor file", document.OneLine(s))
	case strings.Contains(s, "$"):
		return "", n.Errorf("%s: has a variable, which dnf knows and this program does not; write what it stands for", document.OneLine(s))
	}
	return p.path(s), nil
}

func (p parser) urls(to *[]string) func(document.Node) error {
	return func(n document.Node) error {
		var list []string
		var err error
		if _, ok := n.Scalar(); ok {
			var s string
			s, err = n.Text()
			list = []string{s}
		} else {
			list, err = n.Texts()
		}
		if err != nil {
			return err
		}
		for _, s := range list {
			if isURL(s) && strings.ContainsAny(s, "$") {
				return n.Errorf("%s: has a variable, which dnf knows and this program does not; write what it stands for", document.OneLine(s))
			}
			s, err := p.place(n, s)
			if err != nil {
				return err
			}
			*to = append(*to, strings.TrimRight(strings.TrimSuffix(strings.TrimRight(s, "/"), "/repodata"), "/"))
		}
		return nil
	}
}

func (p parser) location(to *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err == nil {
			*to, err = p.place(n, s)
		}
		return err
	}
}

func (p parser) file(to *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		if isURL(s) {
			return n.Errorf("is a URL, should be a file: %s", s)
		}
		*to = p.path(s)
		return nil
	}
}

func (p parser) key(a *Archive) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		if isURL(s) {
			a.SignedByURL = s
		} else {
			a.SignedBy = p.path(strings.TrimPrefix(s, "file://"))
		}
		return nil
	}
}

// String names where it is read from, for messages.
func (a *Archive) String() string {
	switch {
	case a.RPMs != "":
		return a.RPMs
	case len(a.URLs) > 0:
		return a.URLs[0]
	}
	return fmt.Sprintf("metalink %s", a.Metalink)
}
