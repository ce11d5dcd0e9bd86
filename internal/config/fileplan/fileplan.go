// Package fileplan reads what a configuration says of an archive of plain files, tarballs and installers: lists with a
// digest a line, signed lists of digests of other sites, and detached signatures.
package fileplan

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/pkg/snapshot"
)

// Archive is an archive of plain files.
type Archive struct {
	Prefix   string
	SignedBy string // keyring file of what upstream signs; "": the site vouches for all of it
	Files    []File
	Sums     []Sums

	CAFile, ClientCert, AuthFile string

	strategy string
}

// Place is where something can be had from.
type Place struct {
	URLs []string // whole addresses, in order of preference
	// Of is the first of the addresses that are no mirrors: the one that it is known by.
	Of string

	upstreams, mirrors []string
}

// File is a file by its digest.
type File struct {
	document.Position
	Path   string // below the archive
	SHA256 string // 64 hexadecimal digits; "": only the lock pins it
	Place
	Signature string // address of a detached signature over it; "": none
}

// Sums is a list of digests that its upstream signs.
type Sums struct {
	document.Position
	Place
	Signature string   // address of the detached signature; "": it is clear-signed
	Take      []string // globs over the names in it
	Dir       string   // directory of the archive that its names are relative to; "" is the archive's own
}

// Reader is what an entry is read with.
type Reader struct {
	// File makes a path absolute that is relative to the configuration.
	File func(string) string
	// Strategies are the orders in which mirrors can be asked.
	Strategies []string
}

// Read reads an entry of archives: with format: files, the lists that it names included. Errors name file and line.
func (r Reader) Read(n document.Node) (*Archive, error) {
	a := &Archive{}
	var lists []document.Node
	var template string
	var inline []File
	text := func(dst *string) func(document.Node) error {
		return func(n document.Node) (err error) { *dst, err = n.Text(); return err }
	}
	file := func(dst *string) func(document.Node) error {
		return func(n document.Node) error {
			s, err := n.Text()
			*dst = r.File(s)
			return err
		}
	}
	err := n.Mapping(document.Fields{
		"prefix": text(&a.Prefix),
		"format": text(new(string)),
		"mode": func(n document.Node) error {
			s, err := n.Text()
			if err == nil && s != "curated" {
				err = n.Errorf("is %q, should be curated (or left out): an archive of files is a selection", document.OneLine(s))
			}
			return err
		},
		"from":        func(n document.Node) (err error) { lists, err = items(n); return err },
		"files":       func(n document.Node) (err error) { inline, err = readFiles(n); return err },
		"sums":        func(n document.Node) error { return a.readSums(n, file) },
		"signature":   text(&template),
		"signed-by":   func(n document.Node) error { return a.signedBy(n, r) },
		"strategy":    func(n document.Node) error { return r.strategy(n, &a.strategy) },
		"ca":          file(&a.CAFile),
		"client-cert": file(&a.ClientCert),
		"auth":        file(&a.AuthFile),
	})
	if err != nil {
		return nil, err
	}
	var faults document.Faults
	if template != "" && strings.Count(template, "{url}") != 1 {
		faults.Add(n.Errorf("signature: is %q, should be the address of the signature of each file, with {url} for the file's own; write \"{url}.asc\"", document.OneLine(template)))
	}
	for _, item := range lists {
		name, err := item.Text()
		if err != nil {
			faults.Add(err)
			continue
		}
		name = r.File(name)
		data, err := document.ReadFile(name, document.MaxList)
		if err != nil {
			faults.Add(item.Errorf("%w", err))
			continue
		}
		files, err := parseList(name, data)
		faults.Add(err)
		a.Files = append(a.Files, files...)
	}
	a.Files = append(a.Files, inline...)
	for i := range a.Files {
		if f := &a.Files[i]; f.Signature == "" && template != "" {
			f.Signature = strings.Replace(template, "{url}", f.URLs[0], 1)
		}
	}
	faults.Add(a.unique())
	if faults.Err() == nil {
		faults.Add(a.whole(n))
	}
	for i := range a.Files {
		a.Files[i].settle(a.Files[i].URLs)
	}
	for i := range a.Sums {
		a.Sums[i].settle(a.Sums[i].URLs)
	}
	return a, faults.Err()
}

// items are those of a list, or the value alone.
func items(n document.Node) ([]document.Node, error) {
	if _, ok := n.Scalar(); ok {
		return []document.Node{n}, nil
	}
	return n.Items()
}

// readFiles reads files:, the list in the configuration itself.
func readFiles(n document.Node) (out []File, err error) {
	err = n.Each(func(item document.Node) error {
		var digest, p, signature string
		var urls []string
		err := item.Mapping(document.Fields{
			"path":      func(n document.Node) (err error) { p, err = n.Text(); return err },
			"sha256":    func(n document.Node) (err error) { digest, err = n.Text(); return err },
			"signature": func(n document.Node) (err error) { signature, err = n.Text(); return err },
			"url":       func(n document.Node) (err error) { urls, err = document.OneOrMore(n); return err },
		})
		if err != nil {
			return err
		}
		if digest == "" || p == "" || len(urls) == 0 {
			return item.Errorf("a file needs path:, sha256: (- where the lock pins it) and url:")
		}
		f, err := parseLine(strings.Join(append([]string{digest, p}, urls...), " "))
		switch {
		case err == nil && f == nil:
			err = fmt.Errorf("no file")
		case err == nil && strings.ContainsAny(p+strings.Join(urls, ""), " \t"):
			err = fmt.Errorf("a path or URL with a blank; write it without")
		}
		if err == nil && signature != "" {
			err = checkURL(signature)
		}
		if err != nil {
			return item.Errorf("%w", err)
		}
		f.Position, f.Signature = item.At(), signature
		out = append(out, *f)
		return nil
	})
	return out, err
}

// readSums reads sums:, lists of digests that others sign.
func (a *Archive) readSums(n document.Node, file func(*string) func(document.Node) error) error {
	return n.Each(func(item document.Node) error {
		s := Sums{Position: item.At()}
		var key string
		var signature *string
		err := item.Mapping(document.Fields{
			"url": func(n document.Node) error {
				list, err := items(n)
				for _, one := range list {
					u, err := one.Text()
					if err == nil {
						if err = checkURL(u); err != nil {
							err = one.Errorf("%w", err)
						}
					}
					if err != nil {
						return err
					}
					s.URLs = append(s.URLs, u)
				}
				return err
			},
			"signature": func(n document.Node) error {
				t, err := n.Text()
				signature = &t
				return err
			},
			"signed-by": file(&key),
			"take": func(n document.Node) error {
				list, err := items(n)
				for _, one := range list {
					g, err := one.Text()
					if err == nil {
						if _, bad := path.Match(g, "x"); bad != nil {
							err = one.Errorf("%q is no glob; write *netinst.iso, with * ? and [..] alone", document.OneLine(g))
						}
					}
					if err != nil {
						return err
					}
					s.Take = append(s.Take, strings.TrimPrefix(g, "./"))
				}
				return err
			},
			"to": func(n document.Node) error {
				d, err := n.Text()
				d = strings.Trim(strings.TrimPrefix(d, "./"), "/")
				if err == nil && d != "" && d != "." && snapshot.ValidPath(d) != nil {
					err = n.Errorf("is %q, should be a directory of the archive", document.OneLine(d))
				}
				if d != "." {
					s.Dir = d
				}
				return err
			},
		})
		switch {
		case err != nil:
		case len(s.URLs) == 0:
			err = item.Errorf("no url:; write the address of the list, such as https://mirror.example.org/iso/SHA256SUMS")
		case len(s.Take) == 0:
			err = item.Errorf("no take:; write which files of the list are wanted, as globs: take: [\"*netinst.iso\"], or [\"*\"] for all of them")
		case signature == nil:
			err = item.Errorf("no signature:; write its address, relative to url: (SHA256SUMS.gpg), or none if the list is clear-signed itself")
		case *signature != "none":
			s.Signature, err = relative(s.URLs[0], *signature)
			if err != nil {
				err = item.Errorf("signature: %w", err)
			}
		}
		if err == nil {
			err = a.oneKey(item, key)
		}
		for _, was := range a.Sums {
			if err == nil && was.Dir == s.Dir {
				err = item.Errorf("the list of line %d has its files in the same directory; give one of them to: DIRECTORY", was.Line)
			}
		}
		a.Sums = append(a.Sums, s)
		return err
	})
}

// relative is an address that may be relative to another.
func relative(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	u, err := b.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("%.200q is no address", document.OneLine(ref))
	}
	return u.String(), checkURL(u.String())
}

// signedBy reads the keyring of the entry.
func (a *Archive) signedBy(n document.Node, r Reader) error {
	s, err := n.Text()
	if err == nil && strings.Contains(s, "://") {
		err = n.Errorf("is a URL; fetch the key, look at it, and name the file")
	}
	if err != nil {
		return err
	}
	return a.oneKey(n, r.File(s))
}

// oneKey takes the keyring of the archive. A prefix has one, by which all of it is proved.
func (a *Archive) oneKey(n document.Node, key string) error {
	if key == "" {
		return nil
	}
	if a.SignedBy != "" && a.SignedBy != key {
		return n.Errorf("signed-by: names another key than before in this archive; a prefix has one key: make two archives of it, or put both keys into one file")
	}
	a.SignedBy = key
	return nil
}

func (r Reader) strategy(n document.Node, dst *string) error {
	s, err := n.Text()
	if err == nil && !slices.Contains(r.Strategies, s) {
		err = n.Errorf("is %q, should be one of %s", document.OneLine(s), strings.Join(r.Strategies, ", "))
	}
	*dst = s
	return err
}

// unique leaves out files that are named twice alike, and refuses paths that contradict each other.
func (a *Archive) unique() error {
	var faults document.Faults
	first := map[string]File{}
	var out []File
	for _, f := range a.Files {
		was, again := first[f.Path]
		switch {
		case !again:
			first[f.Path] = f
			out = append(out, f)
		case was.SHA256 != f.SHA256:
			faults.Add(document.Errorf(f.Position, "%s stands at %s with another digest; keep the line that is right", f.Path, was.Position))
		case !slices.Equal(was.URLs, f.URLs):
			faults.Add(document.Errorf(f.Position, "%s stands at %s with other URLs; write all of them on one line", f.Path, was.Position))
		}
	}
	for _, f := range out {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if was, ok := first[dir]; ok {
				faults.Add(document.Errorf(f.Position, "%s lies below %s, which is a file at %s; give one of them another path", f.Path, dir, was.Position))
			}
		}
	}
	a.Files = out
	return faults.Err()
}

// whole says what an archive lacks, or what of it does not go together.
func (a *Archive) whole(n document.Node) error {
	signed := len(a.Sums) > 0
	unsigned := -1
	for i, f := range a.Files {
		signed = signed || f.Signature != ""
		if f.Signature == "" && unsigned < 0 {
			unsigned = i
		}
	}
	switch {
	case len(a.Files)+len(a.Sums) == 0:
		return n.Errorf("archive %s asks for no file; write from: [LIST], files: or sums:", a.Prefix)
	case signed && a.SignedBy == "":
		return n.Errorf("archive %s names signatures and no key; write signed-by: FILE, the keyring that they are verified with", a.Prefix)
	case !signed && a.SignedBy != "":
		return n.Errorf("archive %s has signed-by:, but no sums: and no signature:, so nothing is verified with it; remove it, or write signature: \"{url}.asc\"", a.Prefix)
	case signed && unsigned >= 0:
		return n.Errorf("archive %s has files that upstream signs, and files that it does not (%s at %s); make two archives of it: a prefix is proved by upstream's key, or by the site's", a.Prefix, a.Files[unsigned].Path, a.Files[unsigned].Position)
	}
	return nil
}

// settle takes the addresses that are no mirrors.
func (p *Place) settle(urls []string) {
	p.upstreams, p.URLs = urls, urls
	if len(urls) > 0 {
		p.Of = urls[0]
	}
}

// Mirror puts the addresses into the order of a strategy, the entry's own before the given one. mirrored gives the
// mirrors of addresses, inOrder the order.
func (a *Archive) Mirror(strategy string, mirrored func([]string) []string, inOrder func(strategy string, upstreams, mirrors []string) []string) {
	if a.strategy != "" {
		strategy = a.strategy
	}
	a.places(func(p *Place) {
		p.mirrors = mirrored(p.upstreams)
		p.URLs = inOrder(strategy, p.upstreams, p.mirrors)
	})
}

// SetStrategy changes the order of all that has mirrors, and tells whether anything has.
func (a *Archive) SetStrategy(strategy string, inOrder func(strategy string, upstreams, mirrors []string) []string) (some, all bool) {
	all = true
	a.places(func(p *Place) {
		some, all = some || len(p.mirrors) > 0, all && len(p.mirrors) > 0
		p.URLs = inOrder(strategy, p.upstreams, p.mirrors)
	})
	return some, all
}

// Mirrored tells whether an address is one of a mirror.
func (p *Place) Mirrored(address string) bool { return slices.Contains(p.mirrors, address) }

// Taken is a file of a list of digests, with the mirrors of the list.
func (s *Sums) Taken(name string) (Place, error) {
	var p Place
	of := func(list []string) (out []string, err error) {
		for _, base := range list {
			b, err := url.Parse(base)
			if err != nil {
				return nil, err
			}
			b.Path, b.RawPath, b.RawQuery = path.Join(path.Dir(b.Path), name), "", ""
			out = append(out, b.String())
		}
		return out, nil
	}
	var err error
	if p.URLs, err = of(s.URLs); err == nil {
		if p.upstreams, err = of(s.upstreams); err == nil {
			p.mirrors, err = of(s.mirrors)
		}
	}
	if err == nil && len(p.upstreams) > 0 {
		p.Of = p.upstreams[0]
	}
	return p, err
}

// places visits all places of the archive.
func (a *Archive) places(visit func(*Place)) {
	for i := range a.Files {
		visit(&a.Files[i].Place)
	}
	for i := range a.Sums {
		visit(&a.Sums[i].Place)
	}
}
