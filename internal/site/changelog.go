package site

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
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

// Changelogs fills Changelog of what was upgraded, out of the new .debs: the
// entries down to the old version, once for the packages of one source. It
// reads each of these .debs from its place. One without a changelog of its own, or
// in which it cannot be read, is none of it; only the place's and bytes' errors are errors.
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
	// To the end: only there it is known that these are the bytes of the digest.
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

// printable takes from a line what could steer a terminal: nobody vouches for what a package says of itself.
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

// indented puts so much before each line that is not empty.
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
