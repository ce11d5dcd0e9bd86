package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// Frozen is what Take makes a snapshot of.
type Frozen struct {
	Date       time.Time // the date input, whole seconds
	ValidUntil time.Time // zero: none
	Encoder    int       // encoder generation, from 1
	Images     []Image   // in any order, as are their referrers; the blobs of all of them are among Files
	Archives   []Archive // in any order, as are suites and files in them
	Files      []Row     // every file, signature files included
	Lock       []byte    // canonical
	Small      [][]byte  // generated and already read files (Release, indices, provenance); found by their digest
	Blobs      Blobs     // everything else; nil: nothing else
	Signer     pgp.Signer
}

// Take freezes: makes table and statement and signs, at f.Date, unless f.Signer is nil. It validates that
//
//   - the statement keeps the rules of SPEC section 4;
//   - every signature file of the statement is among Files, with the same digest and size;
//   - no path has two digests, and no digest two sizes;
//   - every file belongs to an archive, and none is listed that is derived (SPEC section 3);
//   - every file in Small is among Files;
//   - the signer's own keyring verifies what it signed.
//
// It opens nothing. f is not changed; its Lock and Small are kept and must not be changed any more.
func Take(f Frozen) (*Snapshot, error) {
	table, err := NewTable(f.Files)
	if err != nil {
		return nil, err
	}
	st := Statement{
		Date: f.Date, ValidUntil: f.ValidUntil, Encoder: f.Encoder,
		Table: BlobOf(table.Bytes()), Lock: BlobOf(f.Lock), Images: f.Images, Archives: f.Archives,
	}.sorted()
	text, err := st.Encode()
	if err != nil {
		return nil, err
	}
	small := newMemory(f.Small)
	if err := st.checkFiles(table, small); err != nil {
		return nil, err
	}
	small[st.Lock.Digest] = f.Lock
	s := &Snapshot{Statement: &st, StatementBytes: text, Table: table, small: small, blobs: f.Blobs}
	if err := st.checkSigned(f.Signer != nil); err != nil {
		return nil, err
	}
	if f.Signer == nil {
		return s, nil
	}
	s.Signed = true
	s.StatementBytes, err = sign(f.Signer, text, st.Date)
	return s, err
}

// sign makes the clear-signed statement and reads it back: what cannot be verified must not be pushed.
func sign(signer pgp.Signer, text []byte, date time.Time) ([]byte, error) {
	signed, err := signer.Clearsign(text, date)
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if len(signed) > MaxStatement {
		return nil, fmt.Errorf("statement: %d bytes, more than %d", len(signed), MaxStatement)
	}
	back, how, err := pgp.VerifyClearsigned(signed, pgp.Trust{Keyring: signer.Public()})
	if err == nil {
		err = how.CheckDated(date)
	}
	if err != nil {
		return nil, fmt.Errorf("statement just signed: %w", err)
	}
	if !bytes.Equal(back, text) {
		return nil, errors.New("statement just signed: not the text that was given to the signer")
	}
	return signed, nil
}

// checkFiles compares the statement and the files in memory with the table.
func (st *Statement) checkFiles(t *Table, small memory) error {
	if err := st.checkSuiteRows(t); err != nil {
		return err
	}
	if err := st.checkImageRows(t); err != nil {
		return err
	}
	sizes := make(map[Digest]int64, t.Len())
	for r := range t.Rows() {
		if err := st.checkPlace(r.Path); err != nil {
			return fmt.Errorf("file %s: %w", r.Path, err)
		}
		if size, ok := sizes[r.Digest]; ok && size != r.Size {
			return fmt.Errorf("%s has two sizes: %d, and %d as %s", r.Digest, size, r.Size, r.Path)
		}
		sizes[r.Digest] = r.Size
	}
	for d, data := range small {
		if size, ok := sizes[d]; !ok || size != int64(len(data)) {
			return fmt.Errorf("%s of %d bytes is not the content of any file", d, len(data))
		}
	}
	return nil
}

// checkSuiteRows tells whether the table lists each signature file as the statement does.
func (st *Statement) checkSuiteRows(t *Table) error {
	for _, f := range st.SuiteFiles() {
		r, ok := t.Find(f.Path)
		if !ok {
			return fmt.Errorf("file %s: in the statement, not in the table", f.Path)
		}
		if r.Blob() != f.Blob {
			return fmt.Errorf("file %s: %s in the statement, %s in the table", f.Path, f.Blob, r.Blob())
		}
	}
	return nil
}

// checkPlace refuses paths outside every archive, and derived ones.
func (st *Statement) checkPlace(path string) error {
	if IsCarried(path) {
		return validCarried(path)
	}
	if IsImageBlob(path) {
		return nil // the table has seen to its name
	}
	if i := strings.LastIndex(path, byHashPart); i >= 0 && st.hasByHash(path[:i]) {
		if _, ok := parseHex(path[i+len(byHashPart):]); ok {
			return errors.New("by-hash/SHA256 names are derived, never listed")
		}
	}
	rest, provenance := strings.CutPrefix(path, upstreamView+"/")
	prefix, name, _ := strings.Cut(rest, "/")
	a := st.Archive(prefix)
	switch {
	case a == nil:
		return errors.New("belongs to no archive")
	case provenance && (a.Class != Upstream || a.Mode != Curated):
		return errors.New("provenance of an archive that has none")
	case provenance && a.Format == FormatDeb && a.isPool(name):
		return errors.New("pool files of the upstream view are derived, never listed")
	}
	return nil
}
