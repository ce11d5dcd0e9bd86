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

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// State is how far an archive was proved.
type State string

const (
	Proved    State = "proved"     // down from upstream's key
	NotProved State = "not proved" // no key of upstream's given; the site vouches
	SiteOwn   State = "site"       // made by the site, which vouches
	Failed    State = "failed"
)

// Verifying is the question to Verify.
type Verifying struct {
	Snapshot *snapshot.Snapshot
	Trust    Trust
	// Hash reads and hashes every file; without it the chain alone is verified.
	Hash bool
	Log  Log
}

// Report is the answer; its JSON form is what verify --json prints.
type Report struct {
	Root      string          `json:"root"`
	Date      time.Time       `json:"date"`
	Statement Signature       `json:"statement"`
	Archives  []ArchiveReport `json:"archives"`
	Files     int             `json:"files"` // distinct, hashed if Hash was asked for
	Bytes     int64           `json:"bytes"`
	Hashed    bool            `json:"hashed"`
	Failures  []string        `json:"failures,omitempty"`
}

// Signature says by what a signed text is believed.
type Signature struct {
	Kind          string     `json:"kind"` // "signed", "pinned", "unverified"
	Key           string     `json:"key,omitempty"`
	Time          *time.Time `json:"time,omitempty"`
	KeyValidUntil *time.Time `json:"keyValidUntil,omitempty"`
	AptRefuses    string     `json:"aptRefuses,omitempty"`
}

// ArchiveReport is what was found of one archive.
type ArchiveReport struct {
	Prefix   string        `json:"prefix"`
	Mode     string        `json:"mode"`
	Class    string        `json:"class"`
	State    State         `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Packages int           `json:"packages"`
	Suites   []SuiteReport `json:"suites,omitempty"`
}

// SuiteReport is a suite as upstream signed it.
type SuiteReport struct {
	Name       string     `json:"name"`
	Date       time.Time  `json:"date"`
	ValidUntil *time.Time `json:"validUntil,omitempty"`
	Upstream   Signature  `json:"upstream"`
}

// Verify proves a snapshot offline: signatures, chain, and (with Hash) every
// byte. It returns a report and, if anything failed, an error wrapping ErrIntegrity.
func Verify(ctx context.Context, q Verifying) (*Report, error) {
	v := &verifier{Verifying: q, chain: &chain{s: q.Snapshot, trust: q.Trust}, want: map[string]snapshot.Blob{}}
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
	v.rows()
	v.lock()
	if q.Hash {
		if err := v.hash(ctx); err != nil {
			return v.report, err
		}
	}
	v.report.Files, v.report.Bytes = v.distinct()
	if n := len(v.report.Failures); n > 0 {
		return v.report, fmt.Errorf("%w: %d failures; first: %s", ErrIntegrity, n, v.report.Failures[0])
	}
	return v.report, nil
}

type verifier struct {
	Verifying
	chain  *chain
	report *Report
	want   map[string]snapshot.Blob // every path that the chain names
}

func (v *verifier) fail(format string, args ...any) {
	v.report.Failures = append(v.report.Failures, fmt.Sprintf(format, args...))
}

func signature(h archive.How, ring *archive.Keyring, now time.Time) Signature {
	switch h.Kind {
	case archive.Signed:
		s := Signature{Kind: "signed", Key: h.Signer, Time: &h.Time}
		if ring != nil {
			if info, ok := ring.Info(h.Signer, now); ok {
				s.AptRefuses = info.AptRefuses
				if !info.Expires.IsZero() {
					s.KeyValidUntil = &info.Expires
				}
			}
		}
		return s
	case archive.Pinned:
		return Signature{Kind: "pinned"}
	}
	return Signature{Kind: "unverified"}
}

// archive verifies one archive: the chain it is served with, then the proof
// from upstream's key.
func (v *verifier) archive(ctx context.Context, a snapshot.Archive) ArchiveReport {
	r := ArchiveReport{Prefix: a.Prefix, Mode: string(a.Mode), Class: string(a.Class)}
	stanzas := map[snapshot.Digest]string{}
	err := v.servedChain(ctx, a, stanzas)
	r.Packages = len(stanzas)
	if err == nil && a.Class == snapshot.Upstream {
		err = v.upstreamProof(ctx, a, stanzas, &r)
	}
	switch {
	case err != nil && errors.Is(err, errNoKey):
		r.State, r.Reason = NotProved, err.Error()
	case err != nil:
		r.State, r.Reason = Failed, err.Error()
		v.fail("archive %s: %s", a.Prefix, err)
	case a.Class == snapshot.Site:
		r.State = SiteOwn
	default:
		r.State = Proved
	}
	return r
}

// servedChain walks what clients are given and collects the digest of every stanza.
func (v *verifier) servedChain(ctx context.Context, a snapshot.Archive, stanzas map[snapshot.Digest]string) error {
	if err := v.chain.proveArchive(ctx, a, served, v.want); err != nil {
		return err
	}
	suites, err := v.chain.suites(ctx, a, served)
	if err != nil {
		return err
	}
	return v.eachStanza(ctx, suites, func(st deb.Stanza) {
		stanzas[stanzaSum(st)] = st.Get("Package") + " " + st.Get("Version") + " " + st.Get("Architecture")
	})
}

// stanzaSum is the digest of a stanza without the line ends behind it, which
// belong to the index.
func stanzaSum(st deb.Stanza) snapshot.Digest {
	return sha256.Sum256([]byte(strings.TrimRight(string(st), "\n")))
}

func (v *verifier) eachStanza(ctx context.Context, suites []*provenSuite, f func(deb.Stanza)) error {
	for _, p := range suites {
		ixs, err := v.chain.indices(p)
		if err != nil {
			return err
		}
		for _, ix := range ixs {
			data, err := v.chain.read(ctx, ix)
			if err != nil {
				return err
			}
			for st, err := range deb.Stanzas(data) {
				if err == nil {
					f(st)
				}
			}
		}
	}
	return nil
}

// upstreamProof finds every stanza, byte for byte, in an index under upstream's
// signature.
func (v *verifier) upstreamProof(ctx context.Context, a snapshot.Archive, stanzas map[snapshot.Digest]string, r *ArchiveReport) error {
	suites, err := v.chain.suites(ctx, a, upstreams)
	if err != nil {
		return err
	}
	ring := v.Trust.Upstream[a.Prefix]
	for _, p := range suites {
		s := SuiteReport{Name: p.name, Date: p.release.Date, Upstream: signature(p.release.How, ring, v.Trust.Now)}
		if !p.release.ValidUntil.IsZero() {
			s.ValidUntil = &p.release.ValidUntil
		}
		r.Suites = append(r.Suites, s)
		for _, f := range p.files {
			v.want[f.Path] = f.Blob
		}
		if err := v.chain.listedFiles(p, v.want); err != nil {
			return err
		}
	}
	left := stanzas
	if a.Mode == snapshot.Curated {
		if err := v.eachStanza(ctx, suites, func(st deb.Stanza) { delete(left, stanzaSum(st)) }); err != nil {
			return err
		}
		if len(left) > 0 {
			names := make([]string, 0, len(left))
			for _, n := range left {
				names = append(names, n)
			}
			slices.Sort(names)
			return fmt.Errorf("%w: %d stanzas are in no index of upstream's; first: %s", ErrIntegrity, len(left), names[0])
		}
	}
	if ring == nil {
		return errNoKey
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
	byHash := map[snapshot.Digest]bool{}
	for _, b := range v.want {
		byHash[b.Digest] = true
	}
	for row := range v.Snapshot.Table.Rows() {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(row.Path, "upstream/"), "/")
		if failed[prefix] {
			continue
		}
		blob, ok := v.want[row.Path]
		switch {
		case ok && blob.Digest == row.Digest:
		case !ok && strings.Contains(row.Path, "/by-hash/SHA512/") && byHash[row.Digest]:
		case !ok:
			v.fail("%s: no signed index names it", row.Path)
		default:
			v.fail("%s: the table says %s, its index %s", row.Path, row.Digest, blob.Digest)
		}
	}
}

// lock holds the lock's package lines against the pool files of the table.
func (v *verifier) lock() {
	l, err := config.ParseLock("lock", v.Snapshot.Lock)
	if err != nil {
		v.fail("lock: %s", err)
		return
	}
	if !l.Date.Equal(v.Snapshot.Statement.Date) {
		v.fail("lock: its date is %s, the statement's %s", stamp(l.Date), stamp(v.Snapshot.Statement.Date))
	}
	locked := map[string]bool{}
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			locked[fmt.Sprintf("%s %s %s %s %s", a.Prefix, p.Name, p.Version, p.Architecture, p.Digest)] = true
		}
	}
	for _, a := range v.Snapshot.Statement.Archives {
		if a.Mode != snapshot.Curated {
			continue
		}
		for row := range v.Snapshot.Table.Under(a.Prefix + "/") {
			if row.Name == "" {
				continue
			}
			key := fmt.Sprintf("%s %s %s %s %s", a.Prefix, row.Name, row.Version, row.Architecture, row.Digest)
			if !locked[key] {
				v.fail("lock: has no line for %s", key)
			}
			delete(locked, key)
		}
	}
	for key := range locked {
		v.fail("lock: %s is not in the snapshot", key)
	}
}

func (v *verifier) distinct() (files int, bytes int64) {
	seen := map[snapshot.Digest]bool{}
	for _, b := range v.want {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			files, bytes = files+1, bytes+b.Size
		}
	}
	return files, bytes
}

// hash reads every file once, each to its verified end.
func (v *verifier) hash(ctx context.Context) error {
	paths := make([]string, 0, len(v.want))
	seen := map[snapshot.Digest]bool{}
	for p, b := range v.want {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	failures := make([]string, len(paths))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, p := range paths {
		g.Go(func() error {
			err := v.readThrough(gctx, v.want[p])
			if errors.Is(err, ErrIntegrity) || errors.Is(err, snapshot.ErrNotExist) {
				failures[i] = fmt.Sprintf("%s: %s", p, err)
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	for _, f := range failures {
		if f != "" {
			v.report.Failures = append(v.report.Failures, f)
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
