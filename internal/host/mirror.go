package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// maxAnswer bounds what a mirror may answer, in bytes: a table is the largest.
const maxAnswer = 256 << 20

// How long a mirror may take to be connected to, to begin an answer, and for all of it.
const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
	fetchTimeout  = 5 * time.Minute
)

// errAbsent marks a document that a mirror answers 404 for.
var errAbsent = errors.New("not there")

// client reaches a mirror of the site: never by a proxy, which is for servers beyond it.
func client() *http.Client {
	return &http.Client{
		// A connection is for one request: a host that waits for a mirror must not occupy it.
		Transport: &http.Transport{
			Proxy: nil, DisableKeepAlives: true, ResponseHeaderTimeout: answerTimeout, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		},
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch reads a document of a mirror whole. Nothing is verified.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, errAbsent)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %.200s", url, resp.Status, data)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("%s: more than %d bytes", url, maxAnswer)
	}
	return data, nil
}

// Wait asks a mirror until it is ready (/readyz answers 200) or ctx ends; then
// the error says what was wrong last. every is the pause between two requests.
func Wait(ctx context.Context, mirror string, every time.Duration) error {
	url := strings.TrimSuffix(mirror, "/") + "/readyz"
	for {
		_, err := fetch(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", mirror, err)
		case <-time.After(every):
		}
	}
}

// MissingKeyError says that a key is needed which nobody gave. It is an [outcome.ErrUsage].
type MissingKeyError struct {
	Prefix string // of the archive whose upstream's key is missing; "": the site's
	What   string // what needs it
}

func (e *MissingKeyError) Error() string {
	if e.Prefix != "" {
		return e.What + " needs upstream's key"
	}
	return e.What + " needs the site's key"
}

func (e *MissingKeyError) Unwrap() error { return outcome.ErrUsage }

// Described is what a snapshot consists of. The statement carries how it was verified.
type Described struct {
	Statement *snapshot.Statement
	Table     *snapshot.Table
}

// Describe reads what the mirror at base (without final slash) serves. Nothing
// that it says is believed but statements that the site's key verifies; those of
// nobody are enough for upstream's view, whose files apt verifies by upstream's
// key: a lie about which suites there are makes apt fail. A mirror of several
// references has a statement for each, and is asked for them by prefix.
func Describe(ctx context.Context, base string, trust prove.Trust, upstream bool) ([]Described, error) {
	d, err := describe(ctx, base, "", trust, upstream)
	if !errors.Is(err, errAbsent) {
		return []Described{d}, err
	}
	list, err := fetch(ctx, base+"/setup/")
	if err != nil {
		return nil, err
	}
	var all []Described
	seen := map[snapshot.Digest]bool{}
	for line := range strings.Lines(string(list)) {
		prefix, ok := strings.CutSuffix(strings.TrimSpace(line[strings.LastIndex(line, "/")+1:]), ".sources")
		if !ok || strings.HasSuffix(prefix, "-upstream") {
			continue
		}
		if err := snapshot.ValidPrefix(prefix); err != nil {
			return nil, fmt.Errorf("%s/setup/: %w", base, err)
		}
		d, err := describe(ctx, base, "?prefix="+prefix, trust, upstream)
		if err != nil {
			return nil, err
		}
		if id := snapshot.Sum(d.Table.Bytes()); !seen[id] {
			seen[id] = true
			all = append(all, d)
		}
	}
	return all, nil
}

// describe reads a statement and the table that it binds.
func describe(ctx context.Context, base, query string, trust prove.Trust, upstream bool) (d Described, err error) {
	text, err := fetch(ctx, base+"/mmoci/statement"+query)
	if err != nil {
		return d, err
	}
	var how pgp.How
	if strings.HasPrefix(string(text), "-----BEGIN PGP SIGNED MESSAGE-----") {
		if text, how, err = pgp.VerifyClearsigned(text, pgp.Trust{Keyring: trust.Site}); err != nil {
			return d, fmt.Errorf("statement of %s: %w", base, err)
		}
	}
	if how.Kind == pgp.Unverified && !upstream && !trust.Unsigned {
		return d, &MissingKeyError{What: "the statement of " + base}
	}
	if d.Statement, err = snapshot.ParseStatement(text, how); err != nil {
		return d, err
	}
	if how.Kind == pgp.Signed {
		if err := trust.Current(d.Statement); err != nil {
			return d, fmt.Errorf("statement of %s: %w", base, err)
		}
	}
	table, err := fetch(ctx, base+"/mmoci/table"+query)
	if err != nil {
		return d, err
	}
	if snapshot.BlobOf(table) != d.Statement.Table {
		return d, fmt.Errorf("%w: %s: the table is not the one of the statement; if the mirror has just moved on, try again", outcome.ErrIntegrity, base)
	}
	d.Table, err = snapshot.OpenTable(table)
	return d, err
}

// Wanted says which archives of a mirror a host is to use.
type Wanted struct {
	Mirror   string   // URL, as apt reaches it, without final slash
	Prefixes []string // only these; nil: all
	Upstream bool     // under upstream's own signature
}

// Archives returns the archives that are wanted, each with the key that apt verifies it by.
func Archives(all []Described, trust prove.Trust, w Wanted) ([]Archive, error) {
	var out []Archive
	found := map[string]bool{}
	for _, d := range all {
		for _, ar := range d.Statement.Archives {
			if len(w.Prefixes) > 0 && !slices.Contains(w.Prefixes, ar.Prefix) || w.Upstream && ar.Class != snapshot.Upstream {
				continue
			}
			found[ar.Prefix] = true
			if ar.Format != snapshot.FormatDeb {
				continue // nothing of apt's
			}
			ring, missing := trust.Site, &MissingKeyError{What: "archive " + ar.Prefix}
			if w.Upstream || ar.Mode == snapshot.Verbatim {
				ring, missing.Prefix = trust.Upstream[ar.Prefix], ar.Prefix
			}
			if ring == nil {
				return nil, missing
			}
			key, err := ring.Armor()
			if err != nil {
				return nil, err
			}
			o := sources.Options{Base: w.Mirror, Upstream: w.Upstream, Comment: ar.Prefix + ", by mmoci host sources; mmoci host undo removes it"}
			if stanzas := sources.Of(d.Statement, d.Table, ar.Prefix, o); len(stanzas) > 0 {
				out = append(out, Archive{Prefix: ar.Prefix, Key: key, Sources: stanzas})
			}
		}
	}
	for _, prefix := range w.Prefixes {
		if !found[prefix] {
			return nil, fmt.Errorf("%w: no archive %s there", outcome.ErrNotFound, prefix)
		}
	}
	return out, nil
}

// Policy asks a mirror which versions it denies, and returns them as apt
// preferences. Nobody signed the answer, so it counts for packages of the
// verified snapshots alone: a mirror can keep from a host what it serves itself,
// and nothing that comes from elsewhere. others counts the denied versions that are left out.
func Policy(ctx context.Context, mirror string, all []Described, trust prove.Trust) (preferences []byte, others int, err error) {
	has := map[Denied]bool{}
	for _, d := range all {
		if d.Statement.How.Kind == pgp.Unverified && !trust.Unsigned {
			return nil, 0, &MissingKeyError{What: "a policy counts for a snapshot that is verified as a whole, which"}
		}
		for row := range d.Table.Rows() {
			if row.IsPackage() {
				has[Denied{row.Name, row.Version}] = true
				has[Denied{row.Name + ":" + row.Architecture, row.Version}] = true
			}
		}
	}
	text, err := fetch(ctx, mirror+"/setup/policy.pref")
	if err != nil {
		return nil, 0, err
	}
	denied, err := ParsePolicy(text)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", mirror, err)
	}
	kept := slices.DeleteFunc(slices.Clone(denied), func(d Denied) bool { return !has[d] })
	return formatPolicy(kept), len(denied) - len(kept), nil
}

// maxPolicy bounds the preferences of a mirror, in bytes.
const maxPolicy = 32 << 20

// ErrPolicy marks preferences of a mirror that say more than which versions it denies.
var ErrPolicy = errors.New("refused")

// Denied is a version of a package that a mirror's rules deny.
type Denied struct {
	Package string // NAME, or NAME:ARCHITECTURE
	Version string
}

// ParsePolicy reads the apt preferences of a mirror. They come from the network
// and nobody signed them, so they may say one thing only: that a version of a
// package is denied. Each stanza has Package (one name), Pin (version, in full)
// and Pin-Priority -1, each once; Explanation is overlooked. Patterns, other
// pins and priorities, other fields are ErrPolicy.
func ParsePolicy(data []byte) ([]Denied, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("%w: policy of %d bytes, more than %d", ErrPolicy, len(data), maxPolicy)
	}
	var out []Denied
	for i, stanza := range strings.Split(strings.Trim(string(data), "\n"), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(stanza) {
			name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch _, twice := fields[name]; {
			case strings.HasPrefix(line, "#") || name == "Explanation":
				continue
			case !ok || twice || name != "Package" && name != "Pin" && name != "Pin-Priority":
				return nil, fmt.Errorf("%w: policy, stanza %d: %.100q is no Package, Pin or Pin-Priority of its own", ErrPolicy, i+1, line)
			}
			fields[name] = value
		}
		if len(fields) == 0 {
			continue
		}
		version, ok := strings.CutPrefix(fields["Pin"], "version ")
		d := Denied{fields["Package"], version}
		switch {
		case fields["Pin-Priority"] != "-1":
			return nil, fmt.Errorf("%w: policy, stanza %d: Pin-Priority %.20q: a mirror may deny (-1), and not prefer", ErrPolicy, i+1, fields["Pin-Priority"])
		case !ok || !only(version, versionLetters) || version == "":
			return nil, fmt.Errorf("%w: policy, stanza %d: Pin %.100q is no version in full", ErrPolicy, i+1, fields["Pin"])
		case !isPackage(d.Package):
			return nil, fmt.Errorf("%w: policy, stanza %d: Package %.100q is no name of one package", ErrPolicy, i+1, d.Package)
		}
		out = append(out, d)
	}
	return out, nil
}

const (
	nameLetters    = "abcdefghijklmnopqrstuvwxyz0123456789+.-"
	versionLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+~:-"
)

func only(s, letters string) bool { return strings.Trim(s, letters) == "" }

// isPackage tells NAME or NAME:ARCHITECTURE (deb-control(5)).
func isPackage(s string) bool {
	name, arch, qualified := strings.Cut(s, ":")
	return name != "" && only(name, nameLetters) && only(arch, nameLetters) && qualified == (arch != "")
}

// formatPolicy writes apt preferences that keep apt from denied versions.
func formatPolicy(denied []Denied) []byte {
	var b strings.Builder
	for i, d := range denied {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Package: %s\nPin: version %s\nPin-Priority: -1\n", d.Package, d.Version)
	}
	return []byte(b.String())
}
