package changes

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// maxChangelog bounds a changelog.Debian.gz and its text; the largest in Debian have a few megabytes.
	maxChangelog = 32 << 20
	// maxChangelogLines is how much of one source is shown; the rest is counted.
	maxChangelogLines = 200
)

// Changelogs fills in Changelog and CVEs of upgraded packages from the new .debs: the entries down
// to the old version, once for all packages of one source, from the first of these that has a changelog.
// A source without a readable one has none; only failures to read a .deb itself are errors.
func Changelogs(ctx context.Context, changes []Change, now *snapshot.Snapshot) error {
	type step struct{ source, old, now string }
	packages := map[step][]*Change{}
	var steps []step // in order
	for i := range changes {
		c := &changes[i]
		if c.Kind != "upgraded" {
			continue
		}
		k := step{cmp.Or(c.Source, c.Name), c.Old, c.New}
		if packages[k] == nil {
			steps = append(steps, k)
		}
		packages[k] = append(packages[k], c)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for _, k := range steps {
		of := packages[k]
		g.Go(func() error {
			for _, c := range of {
				text, err := changelog(ctx, c, now)
				if err != nil {
					return err
				}
				if text == "" {
					continue
				}
				c.Changelog = cut(text)
				for _, other := range of {
					other.CVEs = CVEs(text)
				}
				break
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	seen := map[[2]string]bool{} // packages of one source may have versions of their own, and one changelog
	for _, k := range steps {
		for _, c := range packages[k] {
			if c.Changelog != "" && seen[[2]string{k.source, c.Changelog}] {
				c.Changelog = ""
			} else if c.Changelog != "" {
				seen[[2]string{k.source, c.Changelog}] = true
			}
		}
	}
	return nil
}

var cveNumber = regexp.MustCompile(`\bCVE-[0-9]{4}-[0-9]{4,7}\b`)

// CVEs are the CVE numbers in a text, each once, by year and number.
func CVEs(text string) []string {
	found := cveNumber.FindAllString(text, -1)
	slices.SortFunc(found, compareCVEs)
	return slices.Compact(found)
}

// compareCVEs orders by year and number; CVE-2025-999 is before CVE-2025-1000.
func compareCVEs(a, b string) int {
	return cmp.Or(cmp.Compare(a[:8], b[:8]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// changelog reads the entries of one package's changelog that are newer than its old version.
func changelog(ctx context.Context, c *Change, s *snapshot.Snapshot) (string, error) {
	f, err := s.OpenBlob(ctx, c.blob)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", c.Name, c.New, err)
	}
	defer f.Close()
	text, err := ReadChangelog(f, c.Name, c.Old)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", c.Name, c.New, err)
	}
	return text, nil
}

// ReadChangelog reads a .deb to its end, and returns the entries of its changelog that are newer than a version; "" if it has
// no readable one. An error is one of reading: bytes that are verified at their end are so.
func ReadChangelog(f io.Reader, name, old string) (string, error) {
	doc := "usr/share/doc/" + name + "/"
	data, err := deb.DataFile(f, maxChangelog, doc+"changelog.Debian.gz", doc+"changelog.gz")
	if err != nil && !errors.Is(err, deb.ErrNoFile) && !errors.Is(err, deb.ErrMalformed) {
		return "", err
	}
	// The bytes are verified only at their end.
	if _, wrong := io.Copy(io.Discard, f); wrong != nil {
		return "", wrong
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
	return newerEntries(string(text), old), nil
}

// changelogEntry is the first line of an entry (deb-changelog(5)).
var changelogEntry = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]* \(([^() \t]+)\)( +[-+.0-9A-Za-z]+)+;`)

// newerEntries are the entries from the top down to the first one that is not newer than a version.
func newerEntries(text, old string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if m := changelogEntry.FindStringSubmatch(line); m != nil && deb.Compare(m[1], old) <= 0 {
			break
		}
		lines = append(lines, printable(strings.TrimRightFunc(line, unicode.IsSpace)))
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// cut is what is shown of a text; the rest is counted.
func cut(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) <= maxChangelogLines {
		return text
	}
	return fmt.Sprintf("%s\n(%d lines more)", strings.TrimRight(strings.Join(lines[:maxChangelogLines], "\n"), "\n"), len(lines)-maxChangelogLines)
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

// Changelog is the changelog of a package in a snapshot, down to an old version, or all of it if that is "", as far as it is
// shown; "" if it has no readable one. Only failures to read the .deb itself are errors.
func Changelog(ctx context.Context, s *snapshot.Snapshot, row snapshot.Row, old string) (string, error) {
	text, err := changelog(ctx, &Change{Name: row.Name, New: row.Version, Old: old, blob: row.Blob()}, s)
	return cut(text), err
}

// FindCVE is where the first CVE number of a text begins and ends; -1 if there is none.
func FindCVE(text string) (from, to int) {
	at := cveNumber.FindStringIndex(text)
	if at == nil {
		return -1, -1
	}
	return at[0], at[1]
}
