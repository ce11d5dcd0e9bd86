package freeze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// Draft is a snapshot but for its date: all that upstreams, configuration and
// selection decide. Whether something changed is told by giving it the date of the
// snapshot that it would replace; so the date comes last. Immutable.
type Draft struct {
	Wanted time.Time
	Given  bool     // Wanted was asked for, by --date or a lock
	Notes  []string // remarks for people
	Newer  []Newer  // what another archive has newer than the one that was asked
	// Missing is what was asked for and cannot be had, with the versions there are; empty unless with Options.KeepGoing.
	Missing []string

	*content
	versions func(name string) []string // that there are of a package; nil unless with Options.KeepGoing
	signer   pgp.Signer
	validFor time.Duration
	read     []*suites.Head // that it was read by
	others   []ReadyArchive // that were read before
}

// Frozen is a snapshot whose blobs come from the upstreams when they are opened.
type Frozen struct {
	Snapshot *snapshot.Snapshot
	Dropped  []string // optional targets left out, by prefix and name
	Notes    []string // remarks for people
	Newer    []Newer  // what another archive has newer than the one that was asked

	read    []*suites.Head
	ready   []ReadyArchive
	origins *origins
}

// Versions are those that the archives have of a package, for a message: "VERSION ARCHITECTURE in ARCHIVE". None unless
// with Options.KeepGoing.
func (d *Draft) Versions(name string) []string {
	if d.versions == nil {
		return nil
	}
	return d.versions(name)
}

// Lock is the lock of the draft under a date.
func (d *Draft) Lock(date time.Time) *config.Lock {
	return &config.Lock{Date: date, Images: d.lock.Images, Archives: d.lock.Archives}
}

// LockBlob is the lock's blob under a date.
func (d *Draft) LockBlob(date time.Time) snapshot.Blob { return snapshot.BlobOf(d.lockAt(date)) }

func (d *Draft) lockAt(date time.Time) []byte {
	text := bytes.Clone(d.lockText)
	config.PutLockDate(text, date)
	return text
}

// At gives the draft its date: what is signed by the site, and the lock.
func (d *Draft) At(date time.Time) (*Frozen, error) {
	in := snapshot.Frozen{
		Date: date, Encoder: archive.EncoderGeneration, Images: d.images, Archives: slices.Clone(d.archives),
		Lock: d.lockAt(date), Blobs: d.origins, Signer: d.signer,
	}
	if d.validFor > 0 {
		in.ValidUntil = date.Add(d.validFor)
	}
	made := files{slices.Clip(d.files.rows), slices.Clip(d.files.small)}
	for i := range in.Archives {
		in.Archives[i].Suites = slices.Clone(in.Archives[i].Suites)
	}
	for _, r := range d.releases {
		a := in.Archives[r.archive]
		suite := &a.Suites[r.suite]
		signed, err := signAny(d.signer, a.Format, r.text, date, in.ValidUntil)
		if err != nil {
			return nil, fmt.Errorf("archive %s, suite %s: %w", a.Prefix, suite.Name, err)
		}
		suite.Files = slices.Concat(suite.Files, made.signatures(signed, r.base, date, false))
	}
	in.Files, in.Small = made.rows, made.small
	s, err := snapshot.Take(in)
	if err != nil {
		return nil, err
	}
	return &Frozen{Snapshot: s, Dropped: d.dropped, Notes: d.Notes, Newer: d.Newer, read: d.read, ready: d.others, origins: d.origins}, nil
}

// signRelease gives a curated Release its date and makes the signature files of
// its suite. All of them date from the date input, so that equal input gives equal bytes.
func signRelease(signer pgp.Signer, text []byte, date, until time.Time) ([]suites.SignedFile, error) {
	release, err := redateRelease(text, date, until)
	if err != nil {
		return nil, err
	}
	out := []suites.SignedFile{{Name: "Release", Role: snapshot.Release, Data: release}}
	if signer == nil {
		return out, nil
	}
	in, err := signer.Clearsign(release, date)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	sig, err := signer.Detach(release, date)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return append(out, suites.SignedFile{Name: "InRelease", Role: snapshot.InRelease, Data: in}, suites.SignedFile{Name: "Release.gpg", Role: snapshot.ReleaseGPG, Data: sig}), nil
}

// Redate is an old snapshot under another date: statement, lock and curated
// Releases are made again, everything else is as it was.
func Redate(ctx context.Context, old *snapshot.Snapshot, date time.Time, signer pgp.Signer) (*snapshot.Snapshot, error) {
	st := old.Statement
	text, err := old.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	lock, err := config.SetLockDate("lock", text, date)
	if err != nil {
		return nil, err
	}
	in := snapshot.Frozen{Date: date, Encoder: st.Encoder, Images: st.Images, Lock: lock, Blobs: old.Blobs(), Signer: signer}
	if !st.ValidUntil.IsZero() {
		in.ValidUntil = date.Add(st.ValidUntil.Sub(st.Date))
	}
	var made files
	replaced := map[string]bool{} // paths of the site's signature files
	for _, a := range st.Archives {
		a.Suites = slices.Clone(a.Suites)
		for i, s := range a.Suites {
			if a.Mode == snapshot.Verbatim {
				continue
			}
			if a.Format == snapshot.FormatFiles && s.Name != "./" {
				continue // upstream's lists alone
			}
			signed, base, err := redateSuite(ctx, old, a.Format, s, in)
			if err != nil {
				return nil, fmt.Errorf("archive %s, suite %s: %w", a.Prefix, s.Name, err)
			}
			out := made.signatures(signed, base, date, false)
			for _, f := range s.Files {
				if f.Role.IsUpstream() {
					out = append(out, f)
				} else {
					replaced[f.Path] = true
				}
			}
			slices.SortFunc(out, func(x, y snapshot.SuiteFile) int { return strings.Compare(x.Path, y.Path) })
			a.Suites[i] = snapshot.Suite{Name: s.Name, Files: out}
		}
		in.Archives = append(in.Archives, a)
	}
	for _, r := range made.rows {
		replaced[r.Path] = true
	}
	in.Files, in.Small = made.rows, made.small
	for row := range old.Table.Rows() {
		if !replaced[row.Path] {
			in.Files = append(in.Files, row)
		}
	}
	return snapshot.Take(in)
}

// redateSuite makes the signature files of one curated suite again, in the directory base.
func redateSuite(ctx context.Context, old *snapshot.Snapshot, format string, s snapshot.Suite, in snapshot.Frozen) (signed []suites.SignedFile, base string, err error) {
	i := slices.IndexFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role == signedRole(format) })
	if i < 0 {
		return nil, "", fmt.Errorf("%w: it has no %s", outcome.ErrIntegrity, signedRole(format))
	}
	text, err := old.ReadBlob(ctx, s.Files[i].Blob, snapshot.MaxRelease)
	if err == nil {
		signed, err = signAny(in.Signer, format, text, in.Date, in.ValidUntil)
	}
	return signed, strings.TrimSuffix(s.Files[i].Path, signedName(format)), err
}

var (
	releaseDate  = regexp.MustCompile(`(?m)^Date: .*\n`)
	releaseUntil = regexp.MustCompile(`(?m)^Valid-Until: .*\n`)
)

// redateRelease changes Date and Valid-Until of a Release that this program wrote; a zero until leaves none.
func redateRelease(text []byte, date, until time.Time) ([]byte, error) {
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	if len(releaseDate.FindAll(text, 2)) != 1 || !bytes.HasSuffix(text, []byte("\n")) {
		return nil, fmt.Errorf("%w: its Release has not one Date", outcome.ErrIntegrity)
	}
	text = releaseUntil.ReplaceAllLiteral(text, nil)
	lines := "Date: " + date.UTC().Format(layout) + "\n"
	if !until.IsZero() {
		lines += "Valid-Until: " + until.UTC().Format(layout) + "\n"
	}
	return releaseDate.ReplaceAllLiteral(text, []byte(lines)), nil
}

// Dates along a tag strictly increase, to the second, so that clients that
// compare Last-Modified, as apt behind a plain web server does, see each change.
// And a date is never far ahead, for a client that has seen one refuses everything older.

// maxAhead is how far a date may be ahead of this host's clock: what zones and
// clocks that are set wrongly make of "now".
const maxAhead = 24 * time.Hour

// NextDate is the smallest date that clients of a snapshot of this date take.
func NextDate(replaced time.Time) time.Time { return replaced.Add(time.Second) }

// NotAhead refuses a date of more than [maxAhead] after now.
func NotAhead(date, now time.Time) error {
	if date.Sub(now) <= maxAhead {
		return nil
	}
	return fmt.Errorf("%w: date %s is more than a day after now, %s: every client that sees it would refuse what is pushed until then (set this host's clock, or give an earlier date)",
		outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(now))
}

// After refuses a date that is not later than the one that is replaced.
func After(date, replaced time.Time) error {
	if date.After(replaced) {
		return nil
	}
	return fmt.Errorf("%w: date %s is not after that of the snapshot to be replaced, %s, and the content is another; the smallest that clients take is %s",
		outcome.ErrRefused, snapshot.FormatDate(date), snapshot.FormatDate(replaced), snapshot.FormatDate(NextDate(replaced)))
}

// RunsOut tells whether a snapshot of this date has had half of its time or more.
func RunsOut(p *config.Plan, date, now time.Time) bool {
	return p.ValidFor > 0 && now.Sub(date) >= p.ValidFor/2
}

// UpstreamDates maps PREFIX/SUITE to the Date of upstream's Release as the statement says.
func UpstreamDates(st *snapshot.Statement) map[string]time.Time {
	out := map[string]time.Time{}
	for _, a := range st.Archives {
		for _, s := range a.Suites {
			for _, f := range s.Files {
				if a.Mode == snapshot.Verbatim || f.Role.IsUpstream() && f.Role != snapshot.UpstreamReleaseGPG {
					out[a.Prefix+"/"+s.Name] = f.Date
				}
			}
		}
	}
	return out
}

// UpstreamsFault tells errors that may come of an upstream that moves.
func UpstreamsFault(err error) bool {
	return errors.Is(err, outcome.ErrIntegrity) || errors.Is(err, upstream.ErrChanged) || errors.Is(err, upstream.ErrNotFound)
}

// Moved asks the signature files of all suites again and names the first suite
// that has changed since it was frozen; "" if none has.
func (f *Frozen) Moved(ctx context.Context) (string, error) {
	for _, s := range f.read {
		if s.Previous != nil {
			continue
		}
		moved, err := s.HasMoved(ctx)
		if err != nil {
			return "", err
		}
		if moved {
			return fmt.Sprintf("archive %s, suite %s", s.Source.Prefix, s.Name), nil
		}
	}
	for _, r := range f.ready {
		if r.Moved == nil {
			continue
		}
		moved, err := r.Moved(ctx)
		if err != nil {
			return "", err
		}
		if moved {
			return "archive " + r.Archive.Prefix, nil
		}
	}
	return "", nil
}

// Missing completes the error of a file that is gone for good: it names all
// that are. Mismatches speak for themselves.
func (f *Frozen) Missing(ctx context.Context, cause error) error {
	if errors.Is(cause, outcome.ErrIntegrity) || !errors.Is(cause, upstream.ErrNotFound) {
		return cause
	}
	gone := f.origins.gone(ctx, f.Snapshot.Table)
	if len(gone) < 2 {
		return cause
	}
	return fmt.Errorf("%d files are listed and not there upstream: %w\n%s", len(gone), cause, strings.Join(gone, "\n"))
}

// Signatures has a digest over the signature files of each suite of an upstream, by PREFIX SUITE.
func (f *Frozen) Signatures() map[string]string {
	out := map[string]string{}
	for _, s := range f.read {
		out[s.Source.Prefix+" "+s.Name] = s.Signatures()
	}
	return out
}

// ServedBy is what one URL of an archive gave, signature files and indices included.
type ServedBy struct {
	Prefix string
	upstream.Served
	Others int // URLs that the archive has besides
}

// Served tells which URL gave how much, in order of archive and preference.
func (f *Frozen) Served() []ServedBy {
	var out []ServedBy
	for i, s := range f.read {
		if i > 0 && s.Source == f.read[i-1].Source {
			continue
		}
		all := s.Source.Up.Served()
		for _, served := range all {
			out = append(out, ServedBy{s.Source.Prefix, served, len(all) - 1})
		}
	}
	return out
}
