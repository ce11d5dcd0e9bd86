package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// view says through which signature an archive is read: the one it is served
// with, or upstream's own that travels along as provenance.
type view uint8

const (
	served view = iota
	upstreams
)

// chain walks statement -> InRelease -> index -> stanza of one snapshot. It
// never takes a digest from the table: that only says which files are here.
type chain struct {
	s     *snapshot.Snapshot
	trust Trust
	// asApt has InRelease alone read where there is one, as apt does: for who takes
	// packages and hands on no Release. Otherwise every form must verify.
	asApt bool

	strongly sync.Map // digest to the SHA512 that its bytes were seen to have
}

// provenSuite is a suite whose Release was verified as far as trust reaches.
type provenSuite struct {
	archive snapshot.Archive
	name    string // as under dists/; flat: with final "/"
	base    string // directory of its Release in the snapshot, with final slash
	release *archive.Release
	text    []byte               // the Release as such, without signature; nil if there is InRelease alone
	files   []snapshot.SuiteFile // its signature files
}

// suite opens a suite's signature files. The trust that is applied:
// a site's key or an upstream's verifies the signature; a statement that is
// believed pins the files by digest.
func (c *chain) suite(ctx context.Context, a snapshot.Archive, s snapshot.Suite, v view) (*provenSuite, error) {
	files := pickFiles(a, s, v)
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: archive %s, suite %s carries no signature file of upstream", ErrIntegrity, a.Prefix, s.Name)
	}
	p := &provenSuite{archive: a, files: files, base: path.Dir(files[0].Path) + "/"}
	p.name = suiteName(p.base, a.Prefix, v)
	if err := c.release(ctx, p, v); err != nil {
		return nil, fmt.Errorf("archive %s, suite %s: %w", a.Prefix, s.Name, err)
	}
	return p, nil
}

// pickFiles gives a suite's signature files for a view; a verbatim archive is
// served with upstream's own.
func pickFiles(a snapshot.Archive, s snapshot.Suite, v view) []snapshot.SuiteFile {
	var out []snapshot.SuiteFile
	for _, f := range s.Files {
		own := strings.HasPrefix(string(f.Role), "upstream-")
		if own == (v == upstreams && a.Mode == snapshot.Curated) {
			out = append(out, f)
		}
	}
	return out
}

// suiteName tells a suite by the directory that its files are in.
func suiteName(base, prefix string, v view) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(base, "upstream/"), prefix+"/")
	if name, ok := strings.CutPrefix(rest, "dists/"); ok {
		return strings.TrimSuffix(name, "/")
	}
	if rest == "" {
		return "./"
	}
	return rest
}

// release reads and verifies InRelease, Release and Release.gpg: each that is
// read must verify, and all must say the same.
func (c *chain) release(ctx context.Context, p *provenSuite, v view) error {
	files := p.files
	if i := slices.IndexFunc(files, isInRelease); i >= 0 && c.asApt {
		files = files[i : i+1]
	}
	read, err := inOrder(files, func(f snapshot.SuiteFile) ([]byte, error) {
		b, err := c.readBlob(ctx, f.Blob, snapshot.MaxRelease)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		return b, nil
	})
	if err != nil {
		return err
	}
	data := map[string][]byte{}
	for i, f := range files {
		data[strings.TrimPrefix(string(f.Role), "upstream-")] = read[i]
	}
	in, text, sig := data["inrelease"], data["release"], data["release-gpg"]
	if in != nil {
		if p.release, err = archive.OpenInRelease(in, c.applied(p.archive, v, in)); err != nil {
			return fmt.Errorf("InRelease: %w", err)
		}
	}
	if p.text = text; text != nil {
		// A key that is demanded is demanded of this form too: Release.gpg must be there, unless
		// upstream itself has none, which says nothing that InRelease does not say.
		trust := c.applied(p.archive, v, text)
		if in != nil && sig == nil && p.archive.Mode == snapshot.Verbatim {
			trust = pgp.Trust{}
		}
		rel, err := archive.OpenRelease(text, sig, trust)
		if err != nil {
			return fmt.Errorf("Release: %w", err)
		}
		if in != nil {
			if err := sameRelease(in, text); err != nil {
				return err
			}
		} else {
			p.release = rel
		}
	}
	if p.release == nil {
		return fmt.Errorf("%w: neither InRelease nor Release", ErrIntegrity)
	}
	return c.releaseHolds(p, v)
}

func isInRelease(f snapshot.SuiteFile) bool {
	return f.Role == snapshot.InRelease || f.Role == snapshot.UpstreamInRelease
}

// sameRelease holds that InRelease signs the very text of Release: otherwise
// two clients could be shown two archives.
func sameRelease(in, text []byte) error {
	signed, _, err := pgp.VerifyClearsigned(in, pgp.Trust{})
	if err != nil {
		return err
	}
	if !bytes.Equal(bytes.TrimRight(signed, "\n"), bytes.TrimRight(text, "\n")) {
		return fmt.Errorf("%w: InRelease and Release differ", ErrIntegrity)
	}
	return nil
}

// applied is what one signature file is believed by.
func (c *chain) applied(a snapshot.Archive, v view, data []byte) pgp.Trust {
	byUpstream := v == upstreams || a.Mode == snapshot.Verbatim
	pin := pgp.Trust{Digest: snapshot.Sum(data).String()}
	switch {
	case byUpstream && c.trust.Upstream[a.Prefix] != nil:
		return pgp.Trust{Keyring: c.trust.Upstream[a.Prefix]}
	case !c.trust.believed(c.s):
		return pgp.Trust{}
	case !byUpstream && c.trust.Site != nil && c.s.Statement.How.Kind == pgp.Signed:
		return pgp.Trust{Keyring: c.trust.Site}
	}
	return pin
}

// releaseHolds compares a Release with what the statement and the path say of it.
func (c *chain) releaseHolds(p *provenSuite, v view) error {
	// A statement that is believed names the file, so the suite's name is its word.
	if err := checkSuite(p.release, p.name, !c.relies(p) || c.trust.UnnamedOK[p.archive.Prefix]); err != nil {
		return err
	}
	for _, f := range p.files {
		if !f.Date.Equal(p.release.Date) {
			return fmt.Errorf("%w: %s is of %s, the statement says %s", ErrIntegrity, f.Path, snapshot.FormatDate(p.release.Date), snapshot.FormatDate(f.Date))
		}
	}
	if !c.relies(p) {
		return nil // the statement's freshness counts; a report says what apt would
	}
	if err := p.release.CheckDate(c.trust.Now, !c.trust.ExpiredOK[p.archive.Prefix]); err != nil {
		return fmt.Errorf("%w (check-valid-until: no for this archive, or a reference by digest, accepts it)", err)
	}
	return nil
}

// relies tells whether upstream's signature is all that a suite is believed by.
func (c *chain) relies(p *provenSuite) bool {
	return p.release.How.Kind == pgp.Signed && !c.trust.believed(c.s)
}

// provenIndex is a Packages or Sources index whose digest the Release lists.
type provenIndex struct {
	suite           *provenSuite
	component, arch string // arch "source" for Sources
	path            string // relative to the suite, with ending
	blob            snapshot.Blob
}

// A Packages or Sources index by its listed path: COMPONENT/binary-ARCH/Packages,
// COMPONENT/source/Sources, and in flat archives the bare name.
var indexPath = regexp.MustCompile(`^(?:(.+)/binary-([^/]+)/Packages|(.+)/source/Sources|Packages|Sources)$`)

// indices lists the indices of a suite that are carried, in the compression
// that is carried. The table tells which files are here, the Release what they must be.
func (c *chain) indices(p *provenSuite) ([]provenIndex, error) {
	var out []provenIndex
	for _, f := range p.release.Files {
		component, arch, ok := indexName(f.Path)
		if !ok {
			continue
		}
		row, ok := c.s.Table.Find(p.base + f.Path)
		if !ok || f.Size == 0 {
			continue
		}
		ix := provenIndex{suite: p, component: component, arch: arch, path: f.Path}
		var err error
		if ix.blob, err = blobOf(f, row); err != nil {
			return nil, err
		}
		if row.Digest != ix.blob.Digest || row.Size != f.Size {
			return nil, fmt.Errorf("%w: %s is %s (%d bytes) in the table, its Release lists %s (%d bytes)",
				ErrIntegrity, row.Path, row.Digest, row.Size, ix.blob.Digest, f.Size)
		}
		out = append(out, ix)
	}
	return out, nil
}

// indexName takes the path of a Packages or Sources index apart; arch is
// "source" for the latter. Those of udebs are not carried, hence not read.
func indexName(p string) (component, arch string, ok bool) {
	plain := plainName(p)
	m := indexPath.FindStringSubmatch(plain)
	if m == nil || path.Base(m[1]) == "debian-installer" {
		return "", "", false
	}
	if arch = m[2]; path.Base(plain) == "Sources" {
		arch = "source"
	}
	return m[1] + m[3], arch, true
}

// plainName is an index's path without the ending of its compression.
func plainName(p string) string {
	for _, e := range endings {
		if stem, ok := strings.CutSuffix(p, e); ok && e != "" {
			return stem
		}
	}
	return p
}

// blobOf is the blob that a Release lists. Where it lists SHA512 only, the
// table's digest finds the bytes, and somebody must hold them against the
// Release: read for an index, strong for what is not read.
func blobOf(f archive.ReleaseFile, row snapshot.Row) (snapshot.Blob, error) {
	if f.SHA256 == "" {
		return snapshot.Blob{Digest: row.Digest, Size: f.Size}, nil
	}
	d, err := listedDigest(f.SHA256)
	return snapshot.Blob{Digest: d, Size: f.Size}, err
}

// listedDigest reads the SHA256 field of a Release or stanza, whose form was
// validated when that was read. A placeholder is an integrity error.
func listedDigest(hex string) (snapshot.Digest, error) {
	d, err := snapshot.ParseDigest("sha256:" + hex)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	return d, nil
}

// readBlob reads a small blob, at another place where one gave wrong bytes.
func (c *chain) readBlob(ctx context.Context, b snapshot.Blob, limit int64) (data []byte, err error) {
	err = again(func() error {
		data, err = c.s.ReadBlob(ctx, b, limit)
		return err
	})
	return data, err
}

// read reads an index, verified and decompressed.
func (c *chain) read(ctx context.Context, ix provenIndex) ([]byte, error) {
	name := ix.suite.base + ix.path
	limit := int64(maxIndex)
	if _, err := c.bestView(ix.suite.archive); err != nil { // its size is anybody's word
		limit = maxUnproven
	}
	stored, err := c.readBlob(ctx, ix.blob, limit)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	f, _ := ix.suite.release.File(ix.path)
	if err := matches(f, stored); err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", ErrIntegrity, name, err)
	}
	data, err := unpack(ix.suite.release, f, stored, limit)
	if err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", ErrIntegrity, name, err)
	}
	return data, nil
}

// suites opens all suites of an archive in one view. Where upstream's key is all
// that is relied on, its newest Date stands for the age of the archive.
func (c *chain) suites(ctx context.Context, a snapshot.Archive, v view) ([]*provenSuite, error) {
	out, err := inOrder(a.Suites, func(s snapshot.Suite) (*provenSuite, error) { return c.suite(ctx, a, s, v) })
	if err != nil {
		return nil, err
	}
	var newest time.Time
	for _, p := range out {
		if c.relies(p) && p.release.Date.After(newest) {
			newest = p.release.Date
		}
	}
	if newest.IsZero() {
		return out, nil
	}
	if err := c.trust.fresh(newest); err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
	}
	return out, nil
}

// bestView is how an archive can be relied on: through the statement, or
// through upstream's own signature; errNoKey if through neither.
func (c *chain) bestView(a snapshot.Archive) (view, error) {
	if c.trust.believed(c.s) {
		return served, nil
	}
	if a.Class == snapshot.Upstream && c.trust.Upstream[a.Prefix] != nil {
		return upstreams, nil
	}
	return served, errNoKey
}

// maxIndex bounds a decompressed index whose plain size is not listed. The
// largest real one, Contents-source, is 816 MB; Packages are under 100 MB.
const maxIndex = 1 << 30

// maxUnproven bounds what is read of indices that nothing given can prove, in
// bytes: one of them; and in a closure, where they only tell which key is missing, all of
// them with their Releases, as they are stored and as they are unpacked. A whole release has under 100 MB.
const maxUnproven = 256 << 20

// endings in order of preference: the first that upstream really has is taken.
var endings = []string{".xz", ".gz", ""}

// unpack decompresses a listed index and holds the plain bytes, too, against
// what the Release says of them: apt does, and would refuse what we carry. More
// than limit bytes are an error before they are held in memory.
func unpack(rel *archive.Release, f archive.ReleaseFile, stored []byte, limit int64) ([]byte, error) {
	plain, ok := rel.File(plainName(f.Path))
	if !ok {
		return archive.Decompress(f.Path, stored, limit)
	}
	if plain.Size > limit {
		return nil, fmt.Errorf("%s is listed with %d bytes, more than the limit of %d", plain.Path, plain.Size, limit)
	}
	data, err := archive.Decompress(f.Path, stored, plain.Size)
	if err != nil {
		return nil, err
	}
	if err := matches(plain, data); err != nil {
		return nil, fmt.Errorf("decompressed: %w", err)
	}
	return data, nil
}

// matches compares bytes with what a Release says of them.
func matches(f archive.ReleaseFile, data []byte) error {
	if int64(len(data)) != f.Size {
		if int64(len(data)) > f.Size {
			return fmt.Errorf("longer than the %d bytes listed", f.Size)
		}
		return fmt.Errorf("%d bytes, listed are %d", len(data), f.Size)
	}
	if f.SHA256 != "" {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
			return fmt.Errorf("SHA256 is %x, listed is %s", sum, f.SHA256)
		}
	}
	if f.SHA512 != "" {
		if sum := sha512.Sum512(data); hex.EncodeToString(sum[:]) != f.SHA512 {
			return fmt.Errorf("SHA512 is %x, listed is %s", sum, f.SHA512)
		}
	}
	return nil
}

func listed(rel *archive.Release, plain string) []archive.ReleaseFile {
	var out []archive.ReleaseFile
	for _, e := range endings {
		if f, ok := rel.File(plain + e); ok {
			out = append(out, f)
		}
	}
	return out
}

// checkSuite holds a Release against the directory that it was found in; one
// that names no suite passes where somebody said so.
func checkSuite(rel *archive.Release, name string, unnamed bool) error {
	if unnamed && rel.Unnamed() {
		return nil
	}
	err := rel.CheckSuite(name)
	if err != nil && rel.Unnamed() {
		return fmt.Errorf("%w (unnamed-release: yes for this archive takes it, as apt does with a warning)", err)
	}
	return err
}
