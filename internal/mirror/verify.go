package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Verifying is the question to Verify.
type Verifying struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	// Hash reads and hashes every file; without it the chain alone is verified.
	Hash bool
	// Ref is where the snapshot came from; if set, every manifest of its graph is read from there.
	Ref     artifact.Reference
	Options artifact.Options
	Log     Log
}

// Verify proves a snapshot offline: signatures, chain, and (with Hash) every
// byte. It returns a report and, if anything failed, an error wrapping ErrIntegrity.
func Verify(ctx context.Context, q Verifying) (*Report, error) {
	v := &verifier{Verifying: q, chain: &chain{s: q.Snapshot, trust: q.Trust}, want: map[string]*wanted{}}
	st := q.Snapshot.Statement
	v.report = &Report{
		Root: q.Snapshot.Root.String(), Date: st.Date, Hashed: q.Hash,
		Statement: signature(st.How, q.Trust.Site, q.Trust.Now),
	}
	for _, a := range st.Archives {
		v.report.Archives = append(v.report.Archives, v.archive(ctx, a))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	v.carries()
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
		return v.report, fmt.Errorf("%w: %d failures; first: %s", ErrIntegrity, n, v.report.Failures[0])
	}
	return v.report, nil
}

type verifier struct {
	Verifying
	chain  *chain
	report *Report
	want   map[string]*wanted // every path that the chain names
}

// wanted is a file with the suites whose signatures name it.
type wanted struct {
	snapshot.Blob
	by []*provenSuite
}

func (v *verifier) fail(format string, args ...any) {
	v.report.Failures = append(v.report.Failures, fmt.Sprintf(format, args...))
}

// failFile fails the archive of a file, too.
func (v *verifier) failFile(path, why string) {
	v.fail("%s: %s", path, why)
	prefix := snapshot.Row{Path: path}.Archive()
	for i := range v.report.Archives {
		if a := &v.report.Archives[i]; a.Prefix == prefix && a.State != Failed {
			a.State, a.Reason = Failed, "not all of its files are right"
		}
	}
}

// archive verifies one archive: the chain it is served with, then the proof
// from upstream's key.
func (v *verifier) archive(ctx context.Context, a snapshot.Archive) ArchiveReport {
	r := ArchiveReport{Prefix: a.Prefix, Mode: string(a.Mode), Class: string(a.Class)}
	r.State, r.Reason = Proved, ""
	err := v.prove(ctx, a, &r)
	believed := v.Trust.believed(v.Snapshot)
	switch {
	case err != nil:
		r.State, r.Reason = Failed, err.Error()
		v.fail("archive %s: %s", a.Prefix, err)
	case a.Class == snapshot.Site && believed:
		r.State = SiteOwn
	case a.Class == snapshot.Site:
		r.State, r.Reason = NotProved, "made by the site, and the statement is not verified"
	case v.Trust.Upstream[a.Prefix] == nil:
		r.State, r.Reason = NotProved, errNoKey.Error()
	case !believed:
		r.Reason = "every byte; which packages there are is the registry's word"
	}
	return r
}

// prove walks what clients are given, suite by suite, then finds every stanza
// of a curated suite, byte for byte, in an index of the same suite under upstream's signature.
func (v *verifier) prove(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	if a.Class == snapshot.Site && v.Trust.Upstream[a.Prefix] != nil {
		return fmt.Errorf("%w: a key of upstream's is given for it, but the statement calls it the site's own", ErrIntegrity)
	}
	stanzas := map[string]map[snapshot.Digest]string{} // by directory of the suite in the archive
	err := v.chain.walk(ctx, a, served, visitor{
		file: v.add,
		stanza: func(p *provenSuite, st deb.Stanza) {
			if stanzas[p.name] == nil {
				stanzas[p.name] = map[snapshot.Digest]string{}
			}
			stanzas[p.name][stanzaSum(st)] = st.Get("Package") + " " + st.Get("Version") + " " + st.Get("Architecture")
		},
	})
	for _, s := range stanzas {
		r.Packages += len(s)
	}
	if err != nil {
		return err
	}
	if err := v.carried(ctx, a, r); err != nil {
		return err
	}
	if a.Class == snapshot.Site || a.Mode == snapshot.Verbatim {
		return nil
	}
	return v.provenance(ctx, a, stanzas, r)
}

// carried reports the suites and holds that no index of a curated suite is
// listed and left out: apt would see fewer packages, or none.
func (v *verifier) carried(ctx context.Context, a snapshot.Archive, r *ArchiveReport) error {
	suites, err := v.chain.suites(ctx, a, served)
	if err != nil {
		return err
	}
	for _, p := range suites {
		ring := v.Trust.Site
		if a.Mode == snapshot.Verbatim {
			ring = v.Trust.Upstream[a.Prefix]
		}
		r.Suites = append(r.Suites, SuiteReport{Name: p.name, Served: v.release(p, ring)})
		if a.Mode == snapshot.Verbatim {
			continue
		}
		for _, f := range p.release.Files {
			if _, _, ok := indexName(f.Path); !ok || v.want[p.base+f.Path] != nil {
				continue
			}
			if v.want[p.base+plainName(f.Path)+".gz"] == nil {
				return fmt.Errorf("%w: index %s is listed, but not in the snapshot", ErrIntegrity, p.base+f.Path)
			}
		}
	}
	return nil
}

func (v *verifier) add(p *provenSuite, name string, b snapshot.Blob) {
	w := v.want[name]
	if w == nil {
		w = &wanted{Blob: b}
		v.want[name] = w
	}
	if w.Blob != b {
		v.fail("%s: %s is %s in %s, elsewhere %s", p.archive.Prefix, name, b, p.files[0].Path, w.Blob)
	}
	if !slices.Contains(w.by, p) {
		w.by = append(w.by, p)
	}
}

// stanzaSum is the digest of a stanza without the line ends behind it, which
// belong to the index.
func stanzaSum(st deb.Stanza) snapshot.Digest {
	return sha256.Sum256([]byte(strings.TrimRight(string(st), "\n")))
}

// provenance finds the stanzas under upstream's signature.
func (v *verifier) provenance(ctx context.Context, a snapshot.Archive, stanzas map[string]map[snapshot.Digest]string, r *ArchiveReport) error {
	suites, err := v.chain.suites(ctx, a, upstreams)
	if err != nil {
		return err
	}
	for i, p := range suites {
		up := v.release(p, v.Trust.Upstream[a.Prefix])
		r.Suites[i].Upstream = &up
		left := stanzas[r.Suites[i].Name]
		err := v.chain.walkSuite(ctx, p, visitor{
			file: func(p *provenSuite, name string, b snapshot.Blob) {
				if _, own := v.Snapshot.Table.Find(name); !own {
					name = strings.TrimPrefix(name, "upstream/") // a pool file of both views has one row
				}
				v.add(p, name, b)
			},
			stanza: func(_ *provenSuite, st deb.Stanza) { delete(left, stanzaSum(st)) },
		})
		if err != nil {
			return err
		}
		if len(left) > 0 {
			names := make([]string, 0, len(left))
			for _, n := range left {
				names = append(names, n)
			}
			slices.Sort(names)
			return fmt.Errorf("%w: suite %s: %d stanzas are in no index of upstream's; first: %s", ErrIntegrity, p.name, len(left), names[0])
		}
	}
	return nil
}

// rows holds the table against the chain: a row that no signed index names has
// no place in a snapshot.
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
		case w == nil:
			v.failFile(row.Path, "no signed index names it")
		case w.Blob != row.Blob():
			v.failFile(row.Path, fmt.Sprintf("the table says %s, its index %s", row.Blob(), w.Blob))
		}
	}
}

// graph holds the artifact against the snapshot: its documents follow from it,
// so there is one right root, and nothing can hide below it. Then it reads each of them.
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
	g, err := artifact.ReadGraph(ctx, v.pinned(), v.Options)
	switch {
	case errors.Is(err, ErrIntegrity), errors.Is(err, snapshot.ErrNotExist):
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
	seen := map[snapshot.Digest]bool{}
	for _, p := range sortedKeys(v.want) {
		if d := v.want[p].Digest; !seen[d] {
			seen[d] = true
			paths = append(paths, p)
		}
	}
	failures := make([]string, len(paths))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, p := range paths {
		g.Go(func() error {
			err := v.readThrough(gctx, v.want[p].Blob)
			if errors.Is(err, ErrIntegrity) || errors.Is(err, snapshot.ErrNotExist) {
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
func signature(h archive.How, ring *archive.Keyring, now time.Time) Signature {
	s := Signature{Kind: h.Kind.String()}
	if h.Kind != archive.Signed {
		return s
	}
	s.Key, s.Time = h.Signer, &h.Time
	s.AptRefuses = ring.AptRefuses(h, now)
	if info, ok := ring.Info(h.Signer, now); ok && !info.Expires.IsZero() {
		s.KeyValidUntil = &info.Expires
	}
	return s
}
