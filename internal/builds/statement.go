package builds

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

const statementHead = "mmoci-build-statement-v1"

// Statement is what a builder says: these files are what it built of this identity. What the identity proves by itself, which are the
// environment, the source and the patches, is not repeated.
type Statement struct {
	Identity snapshot.Digest
	Date     time.Time // when it was signed
	Builder  string    // by what was built: a word, for people
	Files    []File    // .debs and records, sorted by name
}

// File is a file of a build.
type File = buildsource.File

// Text is the statement as it is signed.
func (s *Statement) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nidentity %s\ndate %s\nbuilder %s\n", statementHead, s.Identity, snapshot.FormatDate(s.Date), s.Builder)
	for _, f := range s.Files {
		fmt.Fprintf(&b, "file %s %s\n", f.Blob, f.Name)
	}
	return b.Bytes()
}

// ParseStatement reads the text of a statement. Errors are of outcome.ErrIntegrity.
func ParseStatement(text []byte) (*Statement, error) {
	s, err := parseStatement(text)
	if err != nil {
		return nil, fmt.Errorf("%w: statement of a build: %w", outcome.ErrIntegrity, err)
	}
	return s, nil
}

func parseStatement(text []byte) (*Statement, error) {
	s := &Statement{}
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		f := strings.Split(line, " ")
		var err error
		switch {
		case n == 0 && line == statementHead:
		case f[0] == "identity" && len(f) == 2:
			s.Identity, err = snapshot.ParseDigest(f[1])
		case f[0] == "date" && len(f) == 2:
			s.Date, err = time.Parse(time.RFC3339, f[1])
		case f[0] == "builder" && len(f) == 2:
			s.Builder = f[1]
		case f[0] == "file" && len(f) == 4:
			file := File{Name: f[3]}
			if file.Digest, err = snapshot.ParseDigest(f[1]); err == nil {
				file.Size, err = strconv.ParseInt(f[2], 10, 64)
			}
			s.Files = append(s.Files, file)
		default:
			err = fmt.Errorf("it is not known here")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %.120q: %w", n+1, line, err)
		}
	}
	sorted := slices.IsSortedFunc(s.Files, compareFiles) && len(slices.CompactFunc(slices.Clone(s.Files), func(a, b File) bool { return a.Name == b.Name })) == len(s.Files)
	if !sorted || !bytes.Equal(s.Text(), text) {
		return nil, fmt.Errorf("it is not in canonical form: %s, identity, date, builder, then files in the order of their names, each once", statementHead)
	}
	return s, nil
}

func compareFiles(a, b File) int { return cmp.Compare(a.Name, b.Name) }

// file finds a file by its name.
func (s *Statement) file(name string) (snapshot.Blob, bool) {
	i, ok := slices.BinarySearchFunc(s.Files, name, func(f File, name string) int { return cmp.Compare(f.Name, name) })
	if !ok {
		return snapshot.Blob{}, false
	}
	return s.Files[i].Blob, true
}

// vouches tells whether the statement is of these .debs, and of no other, and of these records.
func (s *Statement) vouches(identity snapshot.Digest, debs, records []Part) error {
	if s.Identity != identity {
		return fmt.Errorf("%w: the statement is of identity %s, not of %s", outcome.ErrIntegrity, s.Identity, identity)
	}
	for _, p := range slices.Concat(debs, records) {
		if b, ok := s.file(p.Title); !ok || b != p.Blob {
			return fmt.Errorf("%w: %s is not the one of the builder's statement", outcome.ErrIntegrity, p.Title)
		}
	}
	for _, f := range s.Files {
		if strings.HasSuffix(f.Name, ".deb") && !slices.ContainsFunc(debs, func(p Part) bool { return p.Title == f.Name }) {
			return fmt.Errorf("%w: the builder's statement names %s, which is not there", outcome.ErrIntegrity, f.Name)
		}
	}
	if len(debs) == 0 {
		return fmt.Errorf("%w: it has no .deb", outcome.ErrIntegrity)
	}
	return nil
}
