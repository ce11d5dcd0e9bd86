// Package site is what an operator does to the snapshots of a site beside pushing
// them: list and compare, copy and promote, roll back, prune, and look for what is wrong.
package site

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Listed is a package of a snapshot, or a container image; its JSON form is what ls --json prints.
// An image has its tag as version and no architecture, prefix or source; Size is that of its manifest.
type Listed struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Prefix       string `json:"prefix"`
	Component    string `json:"component,omitempty"`
	Source       string `json:"source"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	Path         string `json:"path"`
	Image        bool   `json:"image,omitempty"`
}

// List lists the packages of a snapshot in order of prefix, name, version and
// architecture, then the images. It reads the table and the lock, which are hints: what it prints is not proved.
func List(ctx context.Context, s *snapshot.Snapshot) ([]Listed, error) {
	lock, err := s.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	component := map[string]string{}
	if l, err := config.ParseLock("lock", lock); err == nil {
		for _, a := range l.Archives {
			for _, p := range a.Packages {
				component[a.Prefix+" "+p.Digest] = p.Component
			}
		}
	}
	var out []Listed
	for r := range s.Table.Rows() {
		if r.Name == "" {
			continue
		}
		prefix, rest, _ := strings.Cut(r.Path, "/")
		l := Listed{r.Name, r.Version, r.Architecture, prefix, component[prefix+" "+r.Digest.String()], r.Source, r.Digest.String(), r.Size, r.Path, false}
		if parts := strings.Split(rest, "/"); l.Component == "" && len(parts) > 2 && parts[0] == "pool" {
			l.Component = parts[1] // Debian's layout: pool/COMPONENT/...
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Name, b.Name), deb.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	for _, m := range s.Statement.Images {
		i := strings.LastIndexByte(m.Name, ':')
		out = append(out, Listed{Name: m.Name[:i], Version: m.Name[i+1:], Digest: m.Digest.String(), Size: m.Size, Path: snapshot.ImageBlobPath(m.Digest), Image: true})
	}
	return out, nil
}

// Change is what happened to one package or container image between two snapshots.
type Change struct {
	Archive      string `json:"archive"` // "" for an image
	Image        bool   `json:"image,omitempty"`
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Source       string `json:"source,omitempty"`
	Old          string `json:"old,omitempty"` // version, of an image digest; "": added
	New          string `json:"new,omitempty"` // the same; "": removed
	// Kind is added, removed, upgraded, downgraded, or rebuilt (one version, other bytes); of an image added, removed or changed.
	Kind string `json:"kind"`
	// Security says that the new version comes from a security archive.
	Security bool  `json:"security,omitempty"`
	Bytes    int64 `json:"bytes"` // of the new file
	// Changelog are the entries of the new version down to the old one; see [Changelogs].
	Changelog string `json:"changelog,omitempty"`

	blob snapshot.Blob // of the new file
}

// Changes lists what differs between two snapshots, in order of archive, name
// and architecture. An archive is one of security updates if a Release of it
// says so, in Label, Suite or Codename, as Debian's and Ubuntu's do.
func Changes(ctx context.Context, old, new *snapshot.Snapshot) ([]Change, error) {
	security := map[string]bool{}
	for _, a := range new.Statement.Archives {
		is, err := isSecurity(ctx, new, a)
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", a.Prefix, err)
		}
		security[a.Prefix] = is
	}
	out := []Change{}
	for c := range snapshot.Diff(old.Table, new.Table) {
		source := c.New.Source
		if source == "" {
			source = c.Old.Source
		}
		out = append(out, Change{
			Archive: c.Archive, Name: c.Name, Architecture: c.Architecture, Source: source,
			Old: c.Old.Version, New: c.New.Version, Kind: kindOf(c),
			Security: security[c.Archive] && c.New.Version != "", Bytes: c.New.Size, blob: c.New.Blob(),
		})
	}
	return append(out, imageChanges(old.Statement.Images, new.Statement.Images)...), nil
}

// imageChanges lists the images that differ, in order of name. One whose referrers alone differ has not changed.
func imageChanges(old, new []snapshot.Image) []Change {
	changes := map[string]*Change{}
	at := func(name string) *Change {
		if changes[name] == nil {
			changes[name] = &Change{Image: true, Name: name, Kind: "changed"}
		}
		return changes[name]
	}
	for _, m := range old {
		at(m.Name).Old = m.Digest.String()
	}
	for _, m := range new {
		at(m.Name).New, at(m.Name).Bytes = m.Digest.String(), m.Size
	}
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c := changes[name]
		switch {
		case c.Old == c.New:
			continue
		case c.Old == "":
			c.Kind = "added"
		case c.New == "":
			c.Kind = "removed"
		}
		out = append(out, *c)
	}
	return out
}

func kindOf(c snapshot.Change) string {
	switch {
	case c.Old.Path == "":
		return "added"
	case c.New.Path == "":
		return "removed"
	}
	switch n := deb.Compare(c.Old.Version, c.New.Version); {
	case n < 0:
		return "upgraded"
	case n > 0:
		return "downgraded"
	}
	return "rebuilt"
}

// isSecurity reads the Releases of an archive without verifying them.
func isSecurity(ctx context.Context, s *snapshot.Snapshot, a snapshot.Archive) (bool, error) {
	for _, suite := range a.Suites {
		if strings.HasSuffix(suite.Name, "-security") || strings.HasSuffix(suite.Name, "/updates") {
			return true, nil
		}
		for _, f := range suite.Files {
			if f.Role != snapshot.Release && f.Role != snapshot.InRelease {
				continue
			}
			data, err := s.ReadBlob(ctx, f.Blob, snapshot.MaxRelease)
			if err != nil {
				return false, err
			}
			label, err := labelOf(data, f.Role)
			if err != nil {
				return false, fmt.Errorf("%s: %w", f.Path, err)
			}
			if strings.HasSuffix(label, "-Security") {
				return true, nil
			}
		}
	}
	return false, nil
}

func labelOf(data []byte, role snapshot.Role) (string, error) {
	open := func() (*archive.Release, error) { return archive.OpenInRelease(data, pgp.Trust{}) }
	if role == snapshot.Release {
		open = func() (*archive.Release, error) { return archive.OpenRelease(data, nil, pgp.Trust{}) }
	}
	rel, err := open()
	if err != nil {
		return "", err
	}
	return rel.Label, nil
}

// String is one line: "+ name arch version", "- ..", "~ name arch old -> new", with "security" at the end. A changelog follows, indented.
func (c Change) String() string {
	if c.Changelog != "" {
		return c.line() + "\n" + strings.TrimRight(indented(c.Changelog, "    "), "\n")
	}
	return c.line()
}

func (c Change) line() string {
	end := " (" + c.Archive + ")"
	if c.Image {
		end = " (image)"
	}
	if c.Security {
		end = " (" + c.Archive + ", security)"
	}
	name := strings.TrimSuffix(c.Name+" "+c.Architecture, " ") // an image has no architecture
	switch c.Kind {
	case "added":
		return fmt.Sprintf("+ %s %s%s", name, c.New, end)
	case "removed":
		return fmt.Sprintf("- %s %s%s", name, c.Old, end)
	}
	return fmt.Sprintf("~ %s %s -> %s%s", name, c.Old, c.New, end)
}

// Markdown is a table of changes for people, security updates first in bold type, and their changelogs.
func Markdown(changes []Change) string {
	var b strings.Builder
	security, images := 0, 0
	for _, c := range changes {
		if c.Security {
			security++
		}
		if c.Image {
			images++
		}
	}
	fmt.Fprintf(&b, "%d packages differ, %d of them from a security archive", len(changes)-images, security)
	if images > 0 {
		fmt.Fprintf(&b, "; %d images differ", images)
	}
	b.WriteString(".\n")
	if len(changes) == 0 {
		return b.String()
	}
	b.WriteString("\n| package | architecture | old | new | archive | |\n|---|---|---|---|---|---|\n")
	for _, first := range []bool{true, false} {
		for _, c := range changes {
			if c.Security != first {
				continue
			}
			what := c.Kind
			if c.Image {
				what = "image, " + c.Kind
			}
			if c.Security {
				what = "**security**, " + c.Kind
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(c.Name), c.Architecture, cell(c.Old), cell(c.New), c.Archive, what)
		}
	}
	for _, c := range changes {
		if c.Changelog != "" { // indented code, in which nothing is markup
			fmt.Fprintf(&b, "\n### %s %s -> %s\n\n%s", cell(c.Source), cell(c.Old), cell(c.New), indented(c.Changelog, "    "))
		}
	}
	return b.String()
}

// cell keeps a name or version from ending a table cell or starting markup.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "*", "\\*", "_", "\\_", "<", "&lt;", "`", "\\`").Replace(s)
}

const (
	// maxChangelog bounds a changelog.Debian.gz and its text; the largest in Debian have a few megabytes.
	maxChangelog = 32 << 20
	// maxChangelogLines is how much of one source is shown; the rest is counted.
	maxChangelogLines = 200
)

// Changelogs fills in Changelog of upgraded packages from the new .debs: the entries down
// to the old version, once for all packages of one source. A .deb without a readable
// changelog has none; only failures to read the .deb itself are errors.
func Changelogs(ctx context.Context, changes []Change, new *snapshot.Snapshot) error {
	seen := map[[4]string]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for i := range changes {
		c := &changes[i]
		key := [4]string{c.Archive, cmp.Or(c.Source, c.Name), c.Old, c.New}
		if c.Kind != "upgraded" || seen[key] {
			continue
		}
		seen[key] = true
		g.Go(func() (err error) {
			c.Changelog, err = changelog(ctx, c, new)
			return err
		})
	}
	return g.Wait()
}

// changelog reads the entries of one package's changelog that are newer than its old version.
func changelog(ctx context.Context, c *Change, s *snapshot.Snapshot) (string, error) {
	f, err := s.OpenBlob(ctx, c.blob)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", c.Name, c.New, err)
	}
	defer f.Close()
	doc := "usr/share/doc/" + c.Name + "/"
	data, err := deb.DataFile(f, maxChangelog, doc+"changelog.Debian.gz", doc+"changelog.gz")
	if err != nil && !errors.Is(err, deb.ErrNoFile) && !errors.Is(err, deb.ErrMalformed) {
		return "", fmt.Errorf("%s %s: %w", c.Name, c.New, err)
	}
	// The bytes are verified only at their end.
	if _, wrong := io.Copy(io.Discard, f); wrong != nil {
		return "", fmt.Errorf("%s %s: %w", c.Name, c.New, wrong)
	}
	if err != nil {
		return "", nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", nil
	}
	text, err := io.ReadAll(io.LimitReader(z, maxChangelog))
	if err != nil {
		return "", nil
	}
	return newerEntries(string(text), c.Old), nil
}

// changelogEntry is the first line of an entry (deb-changelog(5)).
var changelogEntry = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]* \(([^() \t]+)\)( +[-+.0-9A-Za-z]+)+;`)

// newerEntries are the entries from the top down to the first one that is not newer than a version.
func newerEntries(text, old string) string {
	var lines []string
	left := 0
	for line := range strings.Lines(text) {
		if m := changelogEntry.FindStringSubmatch(line); m != nil && deb.Compare(m[1], old) <= 0 {
			break
		}
		if len(lines) == maxChangelogLines {
			left++
			continue
		}
		lines = append(lines, printable(strings.TrimRightFunc(line, unicode.IsSpace)))
	}
	out := strings.Trim(strings.Join(lines, "\n"), "\n")
	if left > 0 {
		out += fmt.Sprintf("\n(%d lines more)", left)
	}
	return out
}

// printable removes what could control a terminal: a changelog is not to be trusted.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.In(r, unicode.Bidi_Control):
			return -1
		}
		return r
	}, line)
}

// indented puts by before each line that is not empty.
func indented(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		if line != "\n" {
			b.WriteString(by)
		}
		b.WriteString(line)
	}
	return b.String()
}
