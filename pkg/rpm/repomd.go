package rpm

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Index is what a repomd.xml says: which metadata the repository has.
type Index struct {
	Revision string
	Data     []Data // in the order of the file
}

// Data is one file of metadata.
type Data struct {
	Type     string // "primary", "filelists", "primary_db", "group", "updateinfo", ...
	Path     string // below the repository
	Checksum Checksum
	Open     Checksum // of what is compressed in it; none if the file does not say
	Size     int64    // bytes; -1: not said
	OpenSize int64    // likewise
	Time     time.Time
}

// Primary is the file that lists the packages.
func (x *Index) Primary() *Data { return x.Find("primary") }

// Find is the first file of a type; nil if there is none.
func (x *Index) Find(kind string) *Data {
	for i := range x.Data {
		if x.Data[i].Type == kind {
			return &x.Data[i]
		}
	}
	return nil
}

// Newest is the newest time of the metadata, in whole seconds, else that which the revision says; zero if neither does.
func (x *Index) Newest() time.Time {
	var out time.Time
	for _, d := range x.Data {
		if d.Time.After(out) {
			out = d.Time
		}
	}
	if out.IsZero() {
		out, _ = parseTime(x.Revision)
	}
	return out
}

// MaxAhead is how far the clock of who made a repository may be ahead of one's own.
const MaxAhead = 24 * time.Hour

// CheckAhead refuses a repomd.xml of more than [MaxAhead] after now. Nothing that is published until then would be newer.
func (x *Index) CheckAhead(now time.Time) error {
	if !x.Newest().After(now.Add(MaxAhead)) {
		return nil
	}
	const layout = "2006-01-02T15:04:05Z"
	return fmt.Errorf("repomd.xml is of %s, and it is %s: nothing that upstream publishes until then would be newer (set this host's clock, or ask upstream)",
		x.Newest().Format(layout), now.UTC().Format(layout))
}

// ReadRepomd reads a repomd.xml. Errors wrap ErrMalformed, or are those of r.
func ReadRepomd(r io.Reader) (*Index, error) {
	s := newScanner("repomd.xml", io.LimitReader(r, MaxRepomd+1))
	if _, err := s.root("repomd", spaceRepo); err != nil {
		return nil, err
	}
	x := &Index{}
	paths := map[string]Data{}
	err := s.children(func(e xml.StartElement) (err error) {
		switch e.Name.Local {
		case "revision":
			x.Revision, err = s.text()
			return err
		case "data":
		default:
			return nil
		}
		if err := s.known(e.Name, spaceRepo); err != nil {
			return err
		}
		d, err := s.data(e)
		if err != nil {
			return err
		}
		other, twice := paths[d.Path]
		switch {
		case len(x.Data) == MaxData:
			return s.errorf("more than %d files of metadata", MaxData)
		case d.Type == "primary" && x.Primary() != nil:
			return s.errorf("two lists of packages")
		case twice && other.Checksum != d.Checksum:
			return s.errorf("%s stands twice, with two checksums", d.Path)
		case d.Path == Repomd || d.Path == RepomdAsc:
			return s.errorf("%s lists itself", d.Path)
		}
		paths[d.Path] = d
		x.Data = append(x.Data, d)
		return nil
	})
	if err == nil {
		err = s.finish()
	}
	if err == nil && x.Primary() == nil {
		err = s.errorf("it lists no primary, so it names no packages")
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// data reads a data element.
func (s *scanner) data(e xml.StartElement) (Data, error) {
	d := Data{Type: attribute(e, "type"), Size: -1, OpenSize: -1}
	if d.Type == "" {
		return d, s.errorf("data without a type")
	}
	seen := map[string]bool{}
	err := s.children(func(e xml.StartElement) (err error) {
		name := e.Name.Local
		switch name {
		case "location", "checksum", "open-checksum", "size", "open-size", "timestamp":
		default:
			return nil
		}
		if err := s.known(e.Name, spaceRepo); err != nil {
			return err
		}
		if seen[name] {
			return s.errorf("data %s has two elements %s", shorten(d.Type), name)
		}
		seen[name] = true
		if name == "location" {
			d.Path, err = s.location(e)
			return err
		}
		kind := attribute(e, "type")
		text, err := s.text()
		if err != nil {
			return err
		}
		switch name {
		case "checksum":
			d.Checksum, err = ParseChecksum(kind, text)
		case "open-checksum":
			d.Open, err = ParseChecksum(kind, text)
		case "size":
			d.Size, err = s.size(text)
		case "open-size":
			d.OpenSize, err = s.size(text)
		case "timestamp":
			var ok bool
			if d.Time, ok = parseTime(text); !ok {
				return s.errorf("%q is no time", shorten(text))
			}
			return nil
		}
		if err != nil {
			return s.at(err)
		}
		return nil
	})
	switch {
	case err != nil:
		return d, err
	case d.Path == "":
		return d, s.errorf("data %s has no location", shorten(d.Type))
	case d.Checksum == Checksum{}:
		return d, s.errorf("data %s has no checksum", shorten(d.Type))
	}
	return d, nil
}

// size reads a number of bytes.
func (s *scanner) size(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, s.errorf("%q is no size", shorten(text))
	}
	return n, nil
}

// parseTime reads seconds since 1970, with or without a fraction: createrepo wrote one. Years of five digits are no times.
func parseTime(text string) (time.Time, bool) {
	whole, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32*100 {
		return time.Time{}, false
	}
	if n == 0 {
		return time.Time{}, true
	}
	return time.Unix(n, 0).UTC(), true
}
