// Package prove says what of a snapshot is proved, and by whom.
//
// Trust holds the keys that a reader relies on. Chain walks from the statement, or from
// an upstream's key, over Releases and indices to stanzas and pool files, for those
// who take packages. Verify does so for everybody else, and reports.
package prove

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Options says what Verify verifies, and by which keys.
type Options struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	// Hash reads and hashes every file. Without it only the chain is verified.
	Hash bool
	// Ref is where the snapshot came from. If it is set, every manifest of its graph is read from there.
	Ref      artifact.Reference
	Artifact artifact.Options
	Log      outcome.Log
}

// Verify proves a snapshot offline: signatures, chain, and with Hash every byte. It
// returns a report and, if anything failed, an error wrapping ErrIntegrity, or
// ErrExpired if archives are only too old. There is no report, and another error, for
// a snapshot that only a newer program can verify.
func Verify(ctx context.Context, q Options) (*Report, error) {
	v := &verifier{Options: q, chain: &Chain{Snapshot: q.Snapshot, Trust: q.Trust}, want: map[string]*wanted{}, hashed: map[snapshot.Digest]bool{}}
	st := q.Snapshot.Statement
	if st.Encoder > archive.EncoderGeneration {
		return nil, fmt.Errorf("the curated archives of %s are of encoder generation %d, and this mmoci can make those up to %d again: verify it with a newer mmoci",
			q.Snapshot.Root, st.Encoder, archive.EncoderGeneration)
	}
	v.report = &Report{
		Root: q.Snapshot.Root.String(), Date: st.Date, Hashed: q.Hash,
		Statement: signature(st.How, q.Trust.Site, q.Trust.Now),
	}
	for _, merged := range []bool{false, true} { // what they are made of comes first
		for _, a := range st.Archives {
			if (a.Class == snapshot.Merged) != merged {
				continue
			}
			v.report.Archives = append(v.report.Archives, v.archive(ctx, a))
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(v.report.Archives, func(a, b ArchiveReport) int { return strings.Compare(a.Prefix, b.Prefix) })
	v.bundle()
	v.images(ctx)
	v.rows()
	v.lock(ctx)
	if err := v.graph(ctx); err != nil {
		return v.report, err
	}
	if q.Hash {
		if err := v.hash(ctx); err != nil {
			return v.report, err
		}
	}
	v.count()
	if n := len(v.report.Failures); n > 0 {
		kind := outcome.ErrIntegrity
		if v.expired == n {
			kind = outcome.ErrExpired // all that is wrong
		}
		return v.report, fmt.Errorf("%w: %d failures; first: %s", kind, n, v.report.Failures[0])
	}
	return v.report, nil
}

type verifier struct {
	Options
	chain  *Chain
	report *Report
	want   map[string]*wanted // every path that the chain names

	expired int // failures of archives that are only too old

	mu     sync.Mutex
	hashed map[snapshot.Digest]bool // files that were read and verified while stanzas were made again
}

// read notes that a file was read and verified. Safe for concurrent use.
func (v *verifier) read(d snapshot.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hashed[d] = true
}

// wanted is a file that the chain names, with the suites whose Releases do.
type wanted struct {
	snapshot.Blob
	pkg snapshot.Package // that its stanza says it is
	by  []*Suite
}

func (v *verifier) fail(format string, args ...any) {
	v.report.Failures = append(v.report.Failures, fmt.Sprintf(format, args...))
}

// failFile notes a failure of a file and of its archive.
func (v *verifier) failFile(path, why string) {
	v.fail("%s: %s", path, why)
	prefix := snapshot.Row{Path: path}.Archive()
	for i := range v.report.Archives {
		if a := &v.report.Archives[i]; a.Prefix == prefix && a.State != Failed {
			a.State, a.Reason = Failed, "not all of its files are right"
		}
	}
}

// archive verifies one archive and says how far it is proved.
func (v *verifier) archive(ctx context.Context, a snapshot.Archive) ArchiveReport {
	r := ArchiveReport{Prefix: a.Prefix, Mode: string(a.Mode), Class: string(a.Class)}
	r.State, r.Reason = Proved, ""
	err := v.prove(ctx, a, &r)
	believed := v.Trust.Believed(v.Snapshot)
	switch {
	case err != nil:
		r.State, r.Reason = Failed, err.Error()
		v.fail("archive %s: %s", a.Prefix, err)
		if errors.Is(err, outcome.ErrExpired) && !errors.Is(err, outcome.ErrIntegrity) {
			v.expired++
		}
	case a.Class == snapshot.Merged:
		r.State, r.Reason = v.mergedState(a)
	case a.Class == snapshot.Site && believed:
		if r.State = SiteOwn; !v.Hash {
			r.Reason = "not re-made: its packages were not read"
		}
	case a.Class == snapshot.Site:
		r.State, r.Reason = NotProved, "made by the site, and the statement is not verified"
	case v.Trust.Upstream[a.Prefix] == nil:
		r.State, r.Reason = NotProved, errNoKey.Error()
	case !believed:
		r.Reason = "every byte; which packages there are is the registry's word"
	}
	return r
}

// prove verifies what clients are given of an archive. Of a verbatim one, every file that its
// Releases and indices name; a curated one is made again of its proven stanzas and compared.
func (v *verifier) prove(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	if a.Class != snapshot.Upstream && v.Trust.Upstream[a.Prefix] != nil {
		return fmt.Errorf("%w: a key of upstream's is given for it, but the statement calls it the site's own", outcome.ErrIntegrity)
	}
	if a.Format != snapshot.FormatDeb {
		return v.format(ctx, a, r)
	}
	if a.Class == snapshot.Merged {
		return v.mergeAgain(ctx, a, r)
	}
	if a.Mode == snapshot.Curated {
		return v.remakeArchive(ctx, a, r)
	}
	suites, err := v.chain.Suites(ctx, a, Served)
	if err != nil {
		return err
	}
	for _, p := range suites {
		r.Suites = append(r.Suites, SuiteReport{Name: p.Name, Served: v.release(p, v.Trust.Upstream[a.Prefix])})
		stanzas := map[snapshot.Digest]bool{}
		err := v.chain.walkSuite(ctx, p, Visitor{File: v.add, stanza: func(_ suiteIndex, st deb.Stanza) { stanzas[stanzaSum(st)] = true }})
		r.Packages += len(stanzas)
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) add(p *Suite, row snapshot.Row) {
	w := v.want[row.Path]
	if w == nil {
		w = &wanted{Blob: row.Blob(), pkg: row.Package}
		v.want[row.Path] = w
	}
	if w.Blob != row.Blob() {
		v.fail("%s: %s is %s in %s, elsewhere %s", p.archive.Prefix, row.Path, row.Blob(), p.files[0].Path, w.Blob)
	}
	if !slices.Contains(w.by, p) {
		w.by = append(w.by, p)
	}
}

// stanzaSum is the digest of a stanza without trailing line ends, which belong to the index.
func stanzaSum(st deb.Stanza) snapshot.Digest {
	return sha256.Sum256([]byte(strings.TrimRight(string(st), "\n")))
}

// rows compares the table with the chain. A row that no signed index names is a failure.
func (v *verifier) rows() {
	failed := map[string]bool{}
	for _, a := range v.report.Archives {
		failed[a.Prefix] = a.State == Failed
	}
	for row := range v.Snapshot.Table.Rows() {
		if failed[row.Archive()] {
			continue
		}
		switch w := v.want[row.Path]; {
		case w == nil && snapshot.IsImageBlob(row.Path):
			v.failFile(row.Path, "no image has it")
		case w == nil:
			v.failFile(row.Path, "no signed index names it")
		case w.Blob != row.Blob():
			v.failFile(row.Path, fmt.Sprintf("the table says %s, its index %s", row.Blob(), w.Blob))
		case w.pkg != row.Package: // what a policy decides by, and what lists show
			v.failFile(row.Path, fmt.Sprintf("the table calls it %s, its stanza %s", title(row.Package), title(w.pkg)))
		}
	}
}

// title is a package in a message.
func title(p snapshot.Package) string {
	if !p.IsPackage() {
		return "no package"
	}
	return fmt.Sprintf("%s %s %s of source %s", p.Name, p.Version, p.Architecture, p.Source)
}

// graph packs the snapshot and compares the root: all documents follow from the snapshot,
// so that nothing can hide below a right root. Then it reads each document.
func (v *verifier) graph(ctx context.Context) error {
	packed, err := artifact.Pack(v.Snapshot)
	if err != nil {
		v.fail("artifact: %s", err)
		return nil
	}
	if packed.Root() != v.Snapshot.Root {
		v.fail("artifact: its root is %s, what the snapshot packs to is %s", v.Snapshot.Root, packed.Root())
	}
	if v.Ref.Name == "" {
		return nil
	}
	g, err := artifact.ReadGraph(ctx, v.pinned(), v.Artifact)
	switch {
	case errors.Is(err, outcome.ErrIntegrity), errors.Is(err, snapshot.ErrNotExist):
		v.fail("artifact: %s", err)
		return nil
	case err != nil:
		return err
	}
	v.report.Manifests = len(g.Manifests)
	return nil
}

// pinned is the reference by the root that was opened: a tag may have moved meanwhile.
func (v *verifier) pinned() artifact.Reference {
	ref := v.Ref
	ref.Digest = v.Snapshot.Root
	return ref
}

func (v *verifier) count() {
	seen := map[snapshot.Digest]bool{}
	for _, w := range v.want {
		if !seen[w.Digest] {
			seen[w.Digest] = true
			v.report.Files, v.report.Bytes = v.report.Files+1, v.report.Bytes+w.Size
		}
	}
	v.report.files = v.want
}

// hash reads every file once, each to its verified end.
func (v *verifier) hash(ctx context.Context) error {
	paths := make([]string, 0, len(v.want))
	seen := maps.Clone(v.hashed)
	for _, p := range slices.Sorted(maps.Keys(v.want)) {
		if d := v.want[p].Digest; !seen[d] {
			seen[d] = true
			paths = append(paths, p)
		}
	}
	failures := make([]string, len(paths))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for i, p := range paths {
		g.Go(func() error {
			err := v.readThrough(gctx, v.want[p].Blob)
			if errors.Is(err, outcome.ErrIntegrity) || errors.Is(err, snapshot.ErrNotExist) {
				failures[i] = err.Error()
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	for i, f := range failures {
		if f != "" {
			v.failFile(paths[i], f)
		}
	}
	return err
}

func (v *verifier) readThrough(ctx context.Context, b snapshot.Blob) error {
	f, err := v.Snapshot.OpenBlob(ctx, b)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f.Reader)
	return err
}

// signature says by what a text is believed; ring knows the keys, nil if there is none.
func signature(h pgp.How, ring *pgp.Keyring, now time.Time) Signature {
	s := Signature{Kind: h.Kind.String()}
	if h.Kind != pgp.Signed {
		return s
	}
	s.Key, s.Time = h.Signer, &h.Time
	s.AptRefuses = ring.AptRefuses(h, now)
	if info, ok := ring.Info(h.Signer, now); ok && !info.Expires.IsZero() {
		s.KeyValidUntil = &info.Expires
	}
	return s
}

// lock compares the lock with statement and table: its date, archives, Releases,
// indices and packages. Nothing can prove the reasons in it.
func (v *verifier) lock(ctx context.Context) {
	text, err := v.Snapshot.ReadLock(ctx)
	if err != nil {
		v.fail("%s", err)
		return
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		v.fail("lock: %s", err)
		return
	}
	st := v.Snapshot.Statement
	if string(l.Encode()) != string(text) {
		v.fail("lock: not in canonical form")
	}
	if !l.Date.Equal(st.Date) {
		v.fail("lock: its date is %s, the statement's %s", snapshot.FormatDate(l.Date), snapshot.FormatDate(st.Date))
	}
	v.lockImages(l)
	locked := map[string]*config.LockArchive{}
	for i := range l.Archives {
		locked[l.Archives[i].Prefix] = &l.Archives[i]
	}
	for i := range st.Archives {
		a := &st.Archives[i]
		la := locked[a.Prefix]
		if la == nil {
			v.fail("lock: has no archive %s", a.Prefix)
			continue
		}
		delete(locked, a.Prefix)
		v.lockArchive(a, la)
	}
	for _, prefix := range slices.Sorted(maps.Keys(locked)) {
		v.fail("lock: archive %s is not in the statement", prefix)
	}
}

func (v *verifier) lockArchive(a *snapshot.Archive, la *config.LockArchive) {
	if la.Mode != string(a.Mode) || la.Class != string(a.Class) {
		v.fail("lock: archive %s is %s %s, in the statement %s %s", a.Prefix, la.Mode, la.Class, a.Mode, a.Class)
	}
	v.lockReleases(a, la)
	switch {
	case a.Format != snapshot.FormatDeb:
		v.lockFiles(a, la)
	case a.Class == snapshot.Merged:
		if !slices.Equal(la.Merge, a.Merge) {
			v.fail("lock: archive %s is merged of %s, in the statement of %s", a.Prefix, strings.Join(la.Merge, " "), strings.Join(a.Merge, " "))
		}
	case a.Mode == snapshot.Curated:
		v.lockPackages(a, la)
		v.lockFiles(a, la) // the .dscs of own sources
	}
}

// lockReleases compares what the lock pins of upstream with the files that are here.
func (v *verifier) lockReleases(a *snapshot.Archive, la *config.LockArchive) {
	here := map[string]bool{}
	for _, s := range a.Suites {
		for _, f := range s.Files {
			if a.Mode == snapshot.Verbatim || f.Role.IsUpstream() {
				here[f.Digest.String()+" "+snapshot.FormatDate(f.Date)] = true
			}
		}
	}
	for _, r := range la.Releases {
		if !here[r.Digest+" "+snapshot.FormatDate(r.Date)] {
			v.fail("lock: archive %s: Release %s of suite %s, %s, is not in the snapshot", a.Prefix, r.Digest, r.Suite, snapshot.FormatDate(r.Date))
		}
	}
	for _, ix := range la.Indices {
		dir := snapshot.SuiteDir(a.Prefix, ix.Suite)
		if a.Mode == snapshot.Curated {
			dir = "upstream/" + dir
		}
		row, ok := v.Snapshot.Table.Find(dir + "/" + ix.Path)
		if ok && row.Digest.String() != ix.Digest {
			v.fail("lock: index %s is %s, in the snapshot %s", row.Path, ix.Digest, row.Digest)
		}
	}
}

// lockFiles compares the files that the lock pins with those that are here. Of those that are here, some have no line.
func (v *verifier) lockFiles(a *snapshot.Archive, la *config.LockArchive) {
	if cmp.Or(la.Format, snapshot.FormatDeb) != a.Format {
		v.fail("lock: archive %s is of format %q, in the statement of %q", a.Prefix, la.Format, a.Format)
	}
	for _, f := range la.Files {
		row, ok := v.Snapshot.Table.Find(a.Prefix + "/" + f.Path)
		if !ok || row.Digest.String() != f.Digest || row.Size != f.Size {
			v.fail("lock: archive %s: %s %s is not in the snapshot", a.Prefix, f.Path, f.Digest)
		}
	}
}

func (v *verifier) lockPackages(a *snapshot.Archive, la *config.LockArchive) {
	locked := map[string]bool{}
	for _, p := range la.Packages {
		locked[fmt.Sprintf("%s %s %s %s %d", p.Name, p.Version, p.Architecture, p.Digest, p.Size)] = true
	}
	for row := range v.Snapshot.Table.Under(a.Prefix + "/") {
		if !row.IsPackage() {
			continue
		}
		key := fmt.Sprintf("%s %s %s %s %d", row.Name, row.Version, row.Architecture, row.Digest, row.Size)
		if !locked[key] {
			v.fail("lock: archive %s has no line for %s", a.Prefix, key)
		}
		delete(locked, key)
	}
	for _, key := range slices.Sorted(maps.Keys(locked)) {
		v.fail("lock: archive %s: %s is not in the snapshot", a.Prefix, key)
	}
}

// reason is an error's text without its kind.
func reason(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), outcome.ErrIntegrity.Error()+": "), outcome.ErrExpired.Error()+": ")
}

// Remote asks the place for every blob of the artifact s without reading any,
// and adds what is missing to the report.
func Remote(ctx context.Context, ref artifact.Reference, s *snapshot.Snapshot, r *Report, o artifact.Options) error {
	ref.Digest = s.Root // a tag may have moved meanwhile
	g, err := artifact.ReadGraph(ctx, ref, o)
	if err != nil {
		return err
	}
	missing, err := artifact.Missing(ctx, ref, g, o)
	if err != nil {
		return err
	}
	for _, b := range missing {
		r.Failures = append(r.Failures, fmt.Sprintf("blob %s (%d bytes) is missing", b.Digest, b.Size))
	}
	if len(missing) > 0 {
		return outcome.Repair.For(fmt.Errorf("%w: %d blobs are missing; first: %s", outcome.ErrIntegrity, len(missing), missing[0].Digest))
	}
	return nil
}

// Incomplete words an error of opening ref: a snapshot of which a part was lost
// contradicts itself (ErrIntegrity); one that is not there at all stays not found.
func Incomplete(ctx context.Context, ref artifact.Reference, err error, o artifact.Options) error {
	if !errors.Is(err, snapshot.ErrNotExist) {
		return err
	}
	if _, absent := artifact.Resolve(ctx, ref, o); absent != nil {
		return err
	}
	return outcome.Repair.For(fmt.Errorf("%w: the snapshot is there in part only: %w", outcome.ErrIntegrity, err))
}

// Bundle says what a snapshot bundles for hosts that have nothing: programs, .sources, keys.
type Bundle struct {
	Files  int             // how many files are bundled
	Root   snapshot.Digest // of the snapshot, if its statement is believed; [artifact.Options.Vouched] takes it
	Reason error           // why the statement is not believed
}

// ReadBundle counts the bundled files of the snapshot at ref. Only the statement vouches
// for them, so trust must believe the statement: an upstream's key is not enough.
func ReadBundle(ctx context.Context, ref artifact.Reference, t Trust, o artifact.Options) (Bundle, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return Bundle{}, err
	}
	looked, err := sealed.Unseal(nil)
	if err != nil {
		return Bundle{}, fmt.Errorf("%s: %w", ref, err)
	}
	var c Bundle
	for range looked.Table.Under(snapshot.CarriedDir) {
		c.Files++
	}
	s, err := t.Believe(ref, sealed)
	switch {
	case err != nil:
		c.Reason = err
	case !t.Believed(s):
		c.Reason = fmt.Errorf("%s: nothing to verify its statement by", ref)
	default:
		c.Root = sealed.Root
	}
	return c, nil
}

// bundle reports the bundled files. Only the statement vouches for them.
func (v *verifier) bundle() {
	r := ArchiveReport{Prefix: strings.TrimSuffix(snapshot.CarriedDir, "/"), Mode: "bundled", Class: string(snapshot.Site), State: SiteOwn}
	if !v.Trust.Believed(v.Snapshot) {
		r.State, r.Reason = NotProved, "programs that the site vouches for, and the statement is not verified: do not run them"
	}
	for row := range v.Snapshot.Table.Under(snapshot.CarriedDir) {
		v.want[row.Path] = &wanted{Blob: row.Blob()}
		r.Packages++
	}
	if r.Packages > 0 {
		v.report.Archives = append(v.report.Archives, r)
	}
}
