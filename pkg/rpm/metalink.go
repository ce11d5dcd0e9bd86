package rpm

import (
	"cmp"
	"encoding/xml"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Metalink is what a metalink of a repository says: where it is, and which repomd.xml are current. Nobody signs it.
type Metalink struct {
	URLs    []string // of the repository, without a final slash; the preferred first
	Current []Checksum
	// Alternates are checksums of earlier ones that are good enough: mirrors lag behind.
	Alternates []Checksum
}

// Knows tells whether one of the checksums is that of these bytes.
func (m *Metalink) Knows(repomd []byte) bool {
	for _, c := range slices.Concat(m.Current, m.Alternates) {
		h := c.New()
		h.Write(repomd)
		if c.Is(h) {
			return true
		}
	}
	return false
}

// maxURLs bounds how many places a metalink may name.
const maxURLs = 1000

// ReadMetalink reads a metalink of version 3 as mirror managers write it (librepo/metalink.c). Places that are not http or
// https are passed over. Errors wrap ErrMalformed, or are those of r.
func ReadMetalink(r io.Reader) (*Metalink, error) {
	s := newScanner("metalink", &limited{r: r, left: MaxMetalink})
	if _, err := s.root("metalink", spaceLink); err != nil {
		return nil, err
	}
	m := &Metalink{}
	type place struct {
		url        string
		preference int
	}
	var places []place
	files := 0
	hashes := func(to *[]Checksum) func(xml.StartElement) error {
		return func(e xml.StartElement) error {
			if e.Name.Local != "hash" {
				return nil
			}
			kind := attribute(e, "type")
			text, err := s.text()
			if err != nil {
				return err
			}
			if len(*to) == maxURLs {
				return s.errorf("more than %d checksums", maxURLs)
			}
			// MD5 stands beside better ones; by itself it is none.
			if c, err := ParseChecksum(kind, text); err == nil {
				*to = append(*to, c)
			}
			return nil
		}
	}
	err := s.children(func(e xml.StartElement) error {
		if e.Name.Local != "files" {
			return nil
		}
		return s.children(func(e xml.StartElement) error {
			if e.Name.Local != "file" || attribute(e, "name") != "repomd.xml" {
				return nil
			}
			if err := s.known(e.Name, spaceLink); err != nil {
				return err
			}
			if files++; files > 1 {
				return s.errorf("it names repomd.xml twice")
			}
			return s.children(func(e xml.StartElement) error {
				switch e.Name.Local {
				case "verification":
					return s.children(hashes(&m.Current))
				case "alternates":
					return s.children(func(e xml.StartElement) error {
						return s.children(func(e xml.StartElement) error {
							if e.Name.Local != "verification" {
								return nil
							}
							return s.children(hashes(&m.Alternates))
						})
					})
				case "resources":
					return s.children(func(e xml.StartElement) error {
						if e.Name.Local != "url" {
							return nil
						}
						n, err := strconv.Atoi(attribute(e, "preference"))
						if err != nil {
							n = 0
						}
						text, err := s.text()
						if err != nil {
							return err
						}
						base, ok := strings.CutSuffix(text, "/"+Repomd)
						if !ok || !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
							return nil
						}
						if len(places) == maxURLs {
							return s.errorf("more than %d places", maxURLs)
						}
						places = append(places, place{base, n})
						return nil
					})
				}
				return nil
			})
		})
	})
	if err == nil {
		err = s.finish()
	}
	switch {
	case err != nil:
		return nil, err
	case files == 0:
		return nil, s.errorf("it names no repomd.xml")
	case len(places) == 0:
		return nil, s.errorf("it names no place on http or https that has repomd.xml")
	case len(m.Current) == 0:
		return nil, s.errorf("it has no checksum of repomd.xml that proves anything")
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(b.preference, a.preference) })
	for _, p := range places {
		if !slices.Contains(m.URLs, p.url) {
			m.URLs = append(m.URLs, p.url)
		}
	}
	return m, nil
}
