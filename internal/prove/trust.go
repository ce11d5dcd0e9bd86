package prove

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Trust is what a reader relies on. The site's key vouches for the whole snapshot,
// an upstream's key for its prefix only.
type Trust struct {
	Site     *pgp.Keyring            // trust:, --keyring FILE
	Upstream map[string]*pgp.Keyring // signed-by, --keyring PREFIX=FILE
	// Unsigned believes a statement that nobody signed (--insecure-unsigned).
	Unsigned bool
	// ExpiredOK are prefixes whose Releases may be past their Valid-Until (check-valid-until: no).
	ExpiredOK map[string]bool
	// UnnamedOK are prefixes whose Release need name neither Suite nor Codename (unnamed-release: yes).
	UnnamedOK map[string]bool
	// MaxAge refuses an older snapshot, by the date of a statement that is believed, or an older
	// archive, by its newest Date, where only upstream's key is relied on. Zero: any age.
	MaxAge time.Duration
	Memory *Memory // statements seen; nil: none is remembered
	Now    time.Time

	Named []string // prefixes that a key was given for by flag
}

// NewTrust collects trust from a plan (may be nil) and from --keyring values.
func NewTrust(plan *config.Plan, keyrings []string, now time.Time) (Trust, error) {
	t := Trust{Upstream: map[string]*pgp.Keyring{}, ExpiredOK: map[string]bool{}, UnnamedOK: map[string]bool{}, Now: now}
	var site []string
	if plan != nil {
		site = append(site, plan.Trust...)
		for _, a := range plan.Archives {
			if !a.CheckValidUntil {
				t.ExpiredOK[a.Prefix] = true
			}
			if a.UnnamedRelease {
				t.UnnamedOK[a.Prefix] = true
			}
		}
	}
	for _, k := range keyrings {
		prefix, file, ok := strings.Cut(k, "=")
		if !ok {
			site = append(site, k)
			continue
		}
		ring, err := signer.ReadKeyrings(file)
		if err != nil {
			return t, err
		}
		t.Named = append(t.Named, prefix)
		if was := t.Upstream[prefix]; was != nil {
			ring = pgp.JoinKeyrings(was, ring)
		}
		t.Upstream[prefix] = ring
	}
	if err := t.fromPlan(plan); err != nil {
		return t, err
	}
	if len(site) == 0 {
		return t, nil
	}
	var err error
	t.Site, err = signer.ReadKeyrings(site...)
	return t, err
}

// fromPlan adds the signed-by keys of a plan for prefixes that no flag named. A missing
// file is no error: the hosts of a site seldom have upstream's keys.
func (t *Trust) fromPlan(plan *config.Plan) error {
	if plan == nil {
		return nil
	}
	for prefix, file := range plan.SignedBy() {
		if t.Upstream[prefix] != nil {
			continue
		}
		ring, err := signer.ReadKeyrings(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		t.Upstream[prefix] = ring
	}
	return nil
}

// Open opens a snapshot and verifies its statement by the site's key or its digest. If
// neither is given the statement is Unverified, and archives can be proved by upstream's
// keys only; without any key that is ErrUsage.
func Open(ctx context.Context, ref artifact.Reference, t Trust, o artifact.Options) (*snapshot.Snapshot, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return t.Believe(ref, sealed)
}

// Believe verifies the statement of a snapshot that was read from ref, as [Open] does.
func (t Trust) Believe(ref artifact.Reference, sealed *snapshot.Sealed) (*snapshot.Snapshot, error) {
	s, err := sealed.Unseal(t.Site)
	if err != nil {
		err = fmt.Errorf("%s: %w", ref, err)
		if key, prefix := t.mistaken(sealed); key != "" {
			err = outcome.GiveUpstreamKey.For(fmt.Errorf("%w (%s is upstream's key of prefix %s)", err, key, prefix), prefix)
		}
		return nil, err
	}
	if err := t.admits(ref, s, sealed.Pinned); err != nil {
		return nil, err
	}
	return s, nil
}

// admits decides whether anything of a snapshot can be relied on, and whether it is too old.
func (t Trust) admits(ref artifact.Reference, s *snapshot.Snapshot, pinned bool) error {
	st := s.Statement
	if !t.Believed(s) && !t.anyUpstream(st) {
		return outcome.GiveAKey.For(fmt.Errorf("%w: %s: nothing to verify it by", outcome.ErrUsage, ref), strings.Join(prefixes(st), ", "), ref, s.Root)
	}
	for _, prefix := range t.Named {
		if st.Archive(prefix) == nil {
			kind := outcome.ErrUsage
			if !t.Believed(s) {
				kind = outcome.ErrIntegrity // left out, perhaps
			}
			return fmt.Errorf("%w: %s: a key is given for prefix %s, but the snapshot has no such archive (it has %s)",
				kind, ref, prefix, strings.Join(prefixes(st), ", "))
		}
	}
	if !t.Believed(s) {
		return nil // each archive's own Date counts
	}
	if st.How.Kind == pgp.Signed && !pinned {
		if err := t.valid(st); err != nil {
			return fmt.Errorf("%s: %w; push a newer one, or pin this one by digest (@%s)", ref, err, s.Root)
		}
	}
	if err := t.fresh(st.Date); err != nil {
		return fmt.Errorf("%s: statement: %w", ref, err)
	}
	if st.How.Kind != pgp.Signed || pinned {
		return nil
	}
	return t.Memory.Note(ref, s)
}

// Current refuses a statement of the site's that is too old, with ErrExpired: past
// its valid-until or the end of its signature, or older than MaxAge.
func (t Trust) Current(st *snapshot.Statement) error {
	if err := t.valid(st); err != nil {
		return err
	}
	return t.fresh(st.Date)
}

func (t Trust) valid(st *snapshot.Statement) error {
	if !st.ValidUntil.IsZero() && t.Now.After(st.ValidUntil) {
		return fmt.Errorf("%w: the site's statement was valid until %s", outcome.ErrExpired, snapshot.FormatDate(st.ValidUntil))
	}
	if expires := st.How.Expires; !expires.IsZero() && t.Now.After(expires) {
		return fmt.Errorf("%w: the signature of the site's statement expired on %s", outcome.ErrExpired, snapshot.FormatDate(expires))
	}
	return nil
}

// fresh compares a date with MaxAge.
func (t Trust) fresh(date time.Time) error {
	if age := t.Now.Sub(date); t.MaxAge > 0 && age > t.MaxAge {
		return fmt.Errorf("%w: of %s, %s old, more than the %s that are allowed", outcome.ErrExpired, snapshot.FormatDate(date), age.Truncate(time.Second), t.MaxAge)
	}
	return nil
}

// mistaken explains a refused statement: it returns a key that was given as the
// site's and is upstream's of a prefix; "" if none is.
func (t Trust) mistaken(sealed *snapshot.Sealed) (key, prefix string) {
	s, err := sealed.Unseal(nil)
	if err != nil || t.Site == nil {
		return "", ""
	}
	for _, a := range s.Statement.Archives {
		for _, k := range a.UpstreamKeys {
			if slices.Contains(t.Site.Fingerprints(), k) {
				return k, a.Prefix
			}
		}
	}
	return "", ""
}

func (t Trust) anyUpstream(st *snapshot.Statement) bool {
	return slices.ContainsFunc(st.Archives, func(a snapshot.Archive) bool { return t.Upstream[a.Prefix] != nil })
}

func prefixes(st *snapshot.Statement) []string {
	var out []string
	for _, a := range st.Archives {
		out = append(out, a.Prefix)
	}
	return out
}

// Believed tells whether the statement itself can be relied on.
func (t Trust) Believed(s *snapshot.Snapshot) bool {
	return s.Statement.How.Kind != pgp.Unverified || t.Unsigned
}

// errNoKey marks an archive that nothing given can prove.
var errNoKey = errors.New("no key given for this prefix")

// Memory remembers the last statement of the site that was seen at each tag, so that a
// registry cannot go back to an older one. Nil remembers nothing. Safe for use by
// several processes.
type Memory struct {
	Dir string      // made when it is needed
	Log outcome.Log // is told if nothing can be remembered
}

// memoryLine is what is kept of a statement, one file a reference.
const memoryLine = "mmoci-seen-v1\n%s\nstatement %s %s\n"

// Note refuses a snapshot whose statement is older than the last one seen at ref, and
// else remembers it. The statement must have been verified. If the directory cannot be
// written, Note logs that and refuses nothing.
func (m *Memory) Note(ref artifact.Reference, s *snapshot.Snapshot) error {
	if m == nil {
		return nil
	}
	name := RememberedName(ref)
	file := filepath.Join(m.Dir, snapshot.Sum([]byte(name)).Hex())
	unlock, err := m.lock()
	if err != nil {
		m.Log.Printf("statements seen are not remembered: %s", err)
		return nil
	}
	defer unlock()
	date, root, err := recall(file)
	if err != nil {
		return err
	}
	now := s.Statement.Date
	if now.Before(date) {
		return fmt.Errorf("%w: %s names %s, whose statement is of %s; seen before was %s, of %s (pin the older one by digest, or remove %s)",
			outcome.ErrIntegrity, ref, s.Root, snapshot.FormatDate(now), root, snapshot.FormatDate(date), file)
	}
	if now.Equal(date) && root == s.Root.String() {
		return nil
	}
	// Durable on return: else a registry could go back after a power cut.
	if err := durable.WriteFile(file, fmt.Appendf(nil, memoryLine, name, snapshot.FormatDate(now), s.Root), 0o600); err != nil {
		m.Log.Printf("statements seen are not remembered: %s", err)
	}
	return nil
}

// RememberedName is a reference without digest; files by their absolute name.
func RememberedName(ref artifact.Reference) string {
	ref.Digest = snapshot.Digest{}
	if ref.Kind != artifact.Registry {
		if abs, err := filepath.Abs(ref.Name); err == nil {
			ref.Name = abs
		}
	}
	return ref.String()
}

func (m *Memory) lock() (unlock func(), err error) {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, err
	}
	return durable.Lock(context.Background(), filepath.Join(m.Dir, "lock"), 0o600)
}

// recall reads the last statement seen; the zero time if there is none. A file that
// cannot be read is an error, not "none".
func recall(file string) (date time.Time, root string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return date, "", nil
	}
	if err != nil {
		return date, "", err
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) != 4 || lines[0] != "mmoci-seen-v1" {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any", file)
	}
	var stamp string
	if _, err := fmt.Sscanf(lines[2], "statement %s %s", &stamp, &root); err != nil {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any: %w", file, err)
	}
	if date, err = time.Parse(time.RFC3339, stamp); err != nil {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any: %w", file, err)
	}
	return date, root, nil
}
