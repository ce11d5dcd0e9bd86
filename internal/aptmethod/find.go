package aptmethod

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// found is the blob that answers a request.
type found struct {
	source *source
	snapshot.Blob
	modified time.Time // a function of the digest: almost surely another one for another file; apt compares the Dates of Releases besides
}

// find finds the blob of a request: by the digest that apt knows, else by the statement, else by the table. The
// source is returned with an error, too, if there is one.
func (m *method) find(ctx context.Context, r *request) (found, error) {
	l, err := parseURI(r.uri)
	if err != nil {
		return found{}, err
	}
	src, err := m.at(l)
	if err != nil {
		return found{}, err
	}
	f := found{source: src}
	if !r.sha256.IsZero() && r.size >= 0 {
		f.Blob, f.modified = snapshot.Blob{Digest: r.sha256, Size: r.size}, snapshot.ModTime(r.sha256)
		return f, nil
	}
	s, err := src.open(ctx)
	if err != nil {
		return f, err
	}
	if f.Blob, err = s.file(ctx, src, l.path); err != nil {
		return f, err
	}
	if !r.sha256.IsZero() && f.Digest != r.sha256 {
		return f, fmt.Errorf("%s is %s in snapshot %s, and apt wants sha256 %s: %w", l.path, f.Digest, s.name, r.sha256, snapshot.ErrIntegrity)
	}
	f.modified = snapshot.ModTime(f.Digest)
	return f, nil
}

// opened is a snapshot as far as a method needs it: nobody vouches for the statement, and apt verifies what it leads to.
type opened struct {
	name      string // of the snapshot, for people: date and the begin of the digest
	statement *snapshot.Statement
	tableBlob snapshot.Blob
	table     *snapshot.Table // nil: not read yet
}

// open reads root, core and statement, once. What was not to be had is asked for again, but not by each of the requests that wait
// for it now.
func (src *source) open(ctx context.Context) (*opened, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.known != nil {
		return src.known, nil
	}
	if err := src.failed.kept(); err != nil {
		return nil, err
	}
	s, err := src.read(ctx)
	src.failed.note(ctx, err)
	if err != nil {
		return nil, err
	}
	src.known = s
	return s, nil
}

func (src *source) read(ctx context.Context) (*opened, error) {
	d, data, err := src.repository.Root(ctx, src.ref)
	if err != nil {
		return nil, err
	}
	if d.MediaType != oci.TypeIndex {
		return nil, fmt.Errorf("%s: %w, but of media type %.80q", src.ref, oci.ErrNotOurs, d.MediaType)
	}
	children, err := oci.ParseRoot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w, or a damaged one: %w", src.ref, oci.ErrNotOurs, err)
	}
	coreData, err := src.repository.Document(ctx, children[0])
	if err != nil {
		return nil, fmt.Errorf("%s: core: %w", src.ref, err)
	}
	core, err := oci.ParseCore(coreData)
	if err != nil {
		return nil, fmt.Errorf("%s: %w, a damaged one, or one for a later mmoci: %w", src.ref, oci.ErrNotOurs, err)
	}
	text, err := oci.ReadBlob(ctx, src.repository, "statement", core.Layers[0].Blob, oci.MaxStatement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.ref, err)
	}
	var how pgp.How
	if strings.HasSuffix(core.Layers[0].MediaType, "+pgp") {
		if text, how, err = pgp.VerifyClearsigned(text, pgp.Trust{}); err != nil {
			return nil, fmt.Errorf("%s: statement: %w", src.ref, err)
		}
	}
	statement, err := snapshot.ParseStatement(text, how)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.ref, err)
	}
	if core.Layers[1].Blob != statement.Table {
		return nil, oci.Integrity("%s: table: %s, statement %s", src.ref, core.Layers[1].Blob, statement.Table)
	}
	return &opened{name: nameOf(d.Digest, statement.Date), statement: statement, tableBlob: statement.Table}, nil
}

// nameOf is the end of an immutable tag, which names the snapshot alone.
func nameOf(root snapshot.Digest, date time.Time) string {
	return strings.TrimPrefix(oci.ImmutableTag("", date, root), "-")
}

// file finds the blob of a path. Only what is no signature file needs the table.
func (s *opened) file(ctx context.Context, src *source, name string) (b snapshot.Blob, err error) {
	missing := fmt.Errorf("%s is not in snapshot %s of %s: %w", path.Base(name), s.name, src.ref, errMissing)
	own := strings.TrimPrefix(name, "upstream/")
	prefix, _, _ := strings.Cut(own, "/")
	a := s.statement.Archive(prefix)
	if a == nil {
		var there []string
		for _, a := range s.statement.Archives {
			there = append(there, a.Prefix)
		}
		return b, fmt.Errorf("no archive %.100q in snapshot %s of %s, which has %s: %w", prefix, s.name, src.ref, strings.Join(there, ", "), errMissing)
	}
	if f := s.signatureFile(a, name, own); f != nil {
		return f.Blob, nil
	}
	switch path.Base(name) {
	case "InRelease", "Release.gpg": // all of them stand in the statement
		return b, missing
	case "Release":
		for _, suite := range a.Suites {
			if path.Dir(own) == snapshot.SuiteDir(prefix, suite.Name) {
				return b, missing
			}
		}
	}
	table, err := s.readTable(ctx, src)
	if err != nil {
		return b, err
	}
	row, ok := table.Resolve(s.statement, name)
	if !ok {
		return b, missing
	}
	return row.Blob(), nil
}

// signatureFile finds a signature file by its path, or by that of the upstream view, which of a verbatim archive is its own.
func (s *opened) signatureFile(a *snapshot.Archive, name, own string) *snapshot.SuiteFile {
	for i := range a.Suites {
		files := a.Suites[i].Files
		for j := range files {
			if files[j].Path == name || a.Mode == snapshot.Verbatim && a.Class == snapshot.Upstream && files[j].Path == own {
				return &files[j]
			}
		}
	}
	return nil
}

// readTable reads the table, once.
func (s *opened) readTable(ctx context.Context, src *source) (*snapshot.Table, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if s.table != nil {
		return s.table, nil
	}
	data, err := oci.ReadBlob(ctx, src.repository, "table", s.tableBlob, oci.MaxTable)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.ref, err)
	}
	s.table, err = snapshot.OpenTable(data)
	return s.table, err
}

// errMissing marks a file that the snapshot does not have.
var errMissing = fmt.Errorf("%w", oci.ErrNotFound)

// tooLarge is a file that is larger than apt takes.
type tooLarge struct{ size, max int64 }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("the file has %d bytes, and apt takes at most %d", e.size, e.max)
}

// notFound is apt's word for what is not there.
const notFound = "HttpError404"

// failReason is apt's word for an error, "" if it has none, and whether trying again may help.
func failReason(err error) (reason string, transient bool) {
	var large *tooLarge
	switch {
	case errors.As(err, &large):
		return "MaximumSizeExceeded", false
	case errors.Is(err, errURI), errors.Is(err, errFile):
		return "", false
	case errors.Is(err, snapshot.ErrIntegrity):
		return "", false // for "HashSumMismatch" apt would print words of its own, without what came and from where
	case errors.Is(err, oci.ErrNotFound), errors.Is(err, snapshot.ErrNotExist):
		return notFound, false
	}
	return networkReason(err)
}
