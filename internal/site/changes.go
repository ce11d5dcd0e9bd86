package site

import (
	"context"
	"fmt"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Change is what happened to one package between two snapshots.
type Change struct {
	Archive      string `json:"archive"`
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Source       string `json:"source,omitempty"`
	Old          string `json:"old,omitempty"` // version; "": added
	New          string `json:"new,omitempty"` // version; "": removed
	// Kind is added, removed, upgraded, downgraded, or rebuilt (one version, other bytes).
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
	return out, nil
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

// isSecurity reads the Releases of an archive. They are looked at, not believed.
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
	if c.Security {
		end = " (" + c.Archive + ", security)"
	}
	switch c.Kind {
	case "added":
		return fmt.Sprintf("+ %s %s %s%s", c.Name, c.Architecture, c.New, end)
	case "removed":
		return fmt.Sprintf("- %s %s %s%s", c.Name, c.Architecture, c.Old, end)
	}
	return fmt.Sprintf("~ %s %s %s -> %s%s", c.Name, c.Architecture, c.Old, c.New, end)
}

// Markdown is a table of changes for people, security updates first in bold type, and their changelogs.
func Markdown(changes []Change) string {
	var b strings.Builder
	security := 0
	for _, c := range changes {
		if c.Security {
			security++
		}
	}
	fmt.Fprintf(&b, "%d packages differ, %d of them from a security archive.\n", len(changes), security)
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
