package config

import (
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/fileplan"
	"example.org/mmoci/internal/config/rpmplan"
	"example.org/mmoci/pkg/snapshot"
)

// Other is an archive that is not read from a Debian archive: of another format, merged of archives of the plan, or
// taken out of another snapshot.
type Other struct {
	Position document.Position
	Prefix   string
	Format   string            // of [snapshot.Archive]
	SignedBy string            `json:",omitempty"` // keyring file of its upstream; "": none
	Files    *fileplan.Archive `json:",omitempty"` // of format files

	Merge         []string `json:",omitempty"` // prefixes of what it is merged of, sorted
	ForbidEclipse bool     `json:",omitempty"` // an own package that another archive has newer is an error
	Origin, Label string   `json:",omitempty"` // of the merged archive's Release

	RPM *rpmplan.Archive `json:",omitempty"` // of format rpm

	// From is the reference of the snapshot that it is taken out of, as written, under the same prefix; Trust are the keys
	// that sign that snapshot, none: those of the plan.
	From  string   `json:",omitempty"`
	Trust []string `json:",omitempty"`
}

// other reads an entry of archives: that says format:, merge: or from:. It is nil if the entry says none of them.
func (l *loader) other(n document.Node) (*Other, error) {
	o := &Other{Position: n.At(), Format: snapshot.FormatDeb}
	pairs, err := n.Pairs()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, p := range pairs {
		known[p.Key] = true
		if p.Key == "format" {
			if o.Format, err = p.Text(); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case o.Format != snapshot.FormatDeb:
		err = l.otherFormat(n, o)
	case known["merge"]:
		err = l.merged(n, o)
	case known["from"]:
		err = l.taken(n, o)
	default:
		return nil, nil
	}
	if err == nil && o.Prefix == "" {
		err = n.Errorf("archive without prefix:; write prefix: NAME, the directory that it is served under")
	}
	return o, err
}

// otherFormat reads an archive that is no .deb archive. Each format has a room of its own for its keys.
func (l *loader) otherFormat(n document.Node, o *Other) (err error) {
	switch o.Format {
	case snapshot.FormatFiles:
		files, err := fileplan.Reader{File: l.file, Strategies: Strategies()}.Read(n)
		if err == nil {
			o.Files, o.Prefix, o.SignedBy = files, files.Prefix, files.SignedBy
		}
		return err
	case snapshot.FormatRPM:
		if o.RPM, err = rpmplan.Parse(n); err == nil {
			o.Prefix, o.SignedBy = o.RPM.Prefix, o.RPM.SignedBy
		}
		return err
	}
	return n.Errorf("format: is %q, should be %s, %s or %s", document.OneLine(o.Format), snapshot.FormatDeb, snapshot.FormatFiles, snapshot.FormatRPM)
}

// merged reads an archive that is made of others.
func (l *loader) merged(n document.Node, o *Other) error {
	err := n.Mapping(document.Fields{
		"prefix":         document.SetText(&o.Prefix),
		"format":         document.SetText(&o.Format),
		"mode":           onlyCurated,
		"merge":          document.SetTexts(&o.Merge),
		"forbid-eclipse": document.SetFlag(&o.ForbidEclipse),
		"origin":         document.SetText(&o.Origin),
		"label":          document.SetText(&o.Label),
	})
	if err != nil {
		return err
	}
	slices.Sort(o.Merge)
	if len(o.Merge) < 2 {
		return n.Errorf("archive %s: merge: names one archive; name two at least", o.Prefix)
	}
	for i, prefix := range o.Merge[1:] {
		if prefix == o.Merge[i] {
			return n.Errorf("archive %s: merge: %s stands twice", o.Prefix, prefix)
		}
	}
	return nil
}

func onlyCurated(n document.Node) error {
	s, err := n.Text()
	if err == nil && s != string(snapshot.Curated) {
		err = n.Errorf("is %q, should be curated: the site signs what it has made", document.OneLine(s))
	}
	return err
}

// taken reads an archive that another snapshot has.
func (l *loader) taken(n document.Node, o *Other) error {
	return n.Mapping(document.Fields{
		"prefix":    document.SetText(&o.Prefix),
		"format":    document.SetText(&o.Format),
		"from":      document.SetText(&o.From),
		"trust":     l.setFiles(&o.Trust),
		"signed-by": l.setFile(&o.SignedBy),
	})
}

// Other is the archive of a prefix that is no Debian archive; nil: there is none.
func (p *Plan) Other(prefix string) *Other {
	for i := range p.Others {
		if p.Others[i].Prefix == prefix {
			return &p.Others[i]
		}
	}
	return nil
}

// SignedBy are the keyring files of the upstreams, by prefix.
func (p *Plan) SignedBy() map[string]string {
	out := map[string]string{}
	for _, a := range p.Archives {
		if a.SignedBy != "" {
			out[a.Prefix] = a.SignedBy
		}
	}
	for _, o := range p.Others {
		if o.SignedBy != "" {
			out[o.Prefix] = o.SignedBy
		}
	}
	return out
}

// validOthers holds what Validate says of archives for those that are no Debian archives.
func (p *Plan) validOthers(seen map[string]*Archive) error {
	var faults document.Faults
	first := map[string]*Other{}
	for i := range p.Others {
		o := &p.Others[i]
		fault := func(format string, args ...any) { faults.Add(document.Errorf(o.Position, format, args...)) }
		if err := ValidPrefix(o.Prefix); err != nil {
			fault("%w", err)
		}
		if a := seen[o.Prefix]; a != nil {
			fault("archive %s has the prefix of %s; give one of them another prefix", o.Prefix, a.describe())
		} else if was := first[o.Prefix]; was != nil {
			fault("archive %s has the prefix of that at %s; give one of them another prefix", o.Prefix, was.Position)
		}
		first[o.Prefix] = o
	}
	for _, o := range p.Others {
		for _, prefix := range o.Merge {
			of := first[prefix]
			switch {
			case seen[prefix] == nil && of == nil:
				known := document.SortedKeys(seen)
				for _, k := range document.SortedKeys(first) {
					if k != o.Prefix && len(first[k].Merge) == 0 {
						known = append(known, k)
					}
				}
				faults.Add(document.Errorf(o.Position, "archive %s: merge: there is no archive %s; there are %s", o.Prefix, prefix, strings.Join(known, ", ")))
			case of != nil && len(of.Merge) > 0:
				faults.Add(document.Errorf(o.Position, "archive %s: merge: %s is merged itself; name what it is merged of", o.Prefix, prefix))
			case of != nil && of.Format != snapshot.FormatDeb:
				faults.Add(document.Errorf(o.Position, "archive %s: merge: %s is of format %s; only .deb archives are merged", o.Prefix, prefix, of.Format))
			}
		}
	}
	return faults.Err()
}
