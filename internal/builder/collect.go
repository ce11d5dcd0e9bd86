package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
)

// fileName is what a file that a build makes is called.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][-+.~%_A-Za-z0-9]*\.(deb|buildinfo|changes)$`)

const maxControl = 16 << 20 // bytes of .changes and .buildinfo

// collect looks at what was built: one .changes of the job, a .buildinfo and at least one .deb, each
// of the digest that the .changes lists, and nothing else but files that nobody asked for, which are
// removed: logs, packages of debugging symbols under another ending, symlinks.
func (b *build) collect() (*Result, error) {
	root, err := os.OpenRoot(b.out)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r, err := b.collectIn(root)
	if err != nil && !errors.Is(err, outcome.ErrIntegrity) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("what was built of %s %s: %w", b.Name, b.Version, err)
	}
	return r, nil
}

func (b *build) collectIn(root *os.Root) (*Result, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	changes := ""
	for _, e := range entries {
		switch {
		case !e.Type().IsRegular() || !fileName.MatchString(e.Name()):
			continue
		case strings.HasSuffix(e.Name(), ".changes"):
			if changes != "" {
				return nil, fmt.Errorf("%w: two .changes: %s and %s", outcome.ErrIntegrity, changes, e.Name())
			}
			changes = e.Name()
		}
		there[e.Name()] = true
	}
	if changes == "" {
		return nil, fmt.Errorf("%w: no .changes", outcome.ErrIntegrity)
	}
	listed, err := b.readChanges(root, changes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", changes, err)
	}
	r := &Result{Files: []string{changes}}
	debs, infos := 0, 0
	for _, f := range listed {
		if !there[f.name] || f.name == changes {
			return nil, fmt.Errorf("%w: %s lists %s, which is not there", outcome.ErrIntegrity, changes, f.name)
		}
		if err := f.check(root); err != nil {
			return nil, err
		}
		switch {
		case strings.HasSuffix(f.name, ".deb"):
			debs++
		case strings.HasSuffix(f.name, ".buildinfo"):
			infos++
		}
		r.Files = append(r.Files, f.name)
	}
	if debs == 0 || infos != 1 {
		return nil, fmt.Errorf("%w: %s lists %d .debs and %d .buildinfo", outcome.ErrIntegrity, changes, debs, infos)
	}
	for _, e := range entries {
		if !slices.Contains(r.Files, e.Name()) {
			if err := root.RemoveAll(e.Name()); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(r.Files)
	return r, nil
}

type listedFile struct {
	name, sha256 string
	size         int64
}

// readChanges reads which files a .changes lists.
func (b *build) readChanges(root *os.Root, name string) ([]listedFile, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxControl))
	if err != nil {
		return nil, err
	}
	for st, err := range deb.Stanzas(data) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
		}
		source, _, _ := strings.Cut(st.Get("Source"), " ")
		if source != b.Name || st.Get("Version") != b.Version {
			return nil, fmt.Errorf("%w: it is of %s %s", outcome.ErrIntegrity, source, st.Get("Version"))
		}
		var out []listedFile
		for line := range strings.Lines(st.Get("Checksums-Sha256")) {
			parts := strings.Fields(line)
			if len(parts) == 0 {
				continue
			}
			if len(parts) != 3 || !fileName.MatchString(parts[2]) {
				return nil, fmt.Errorf("%w: Checksums-Sha256: %.200q", outcome.ErrIntegrity, line)
			}
			size, err := strconv.ParseInt(parts[1], 10, 64)
			if err != nil || size < 0 || size > maxFile {
				return nil, fmt.Errorf("%w: Checksums-Sha256: %.200q", outcome.ErrIntegrity, line)
			}
			out = append(out, listedFile{parts[2], parts[0], size})
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: it is empty", outcome.ErrIntegrity)
}

// check compares a file with what is listed.
func (l listedFile) check(root *os.Root) error {
	f, err := root.Open(l.name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, l.size+1))
	if err != nil {
		return err
	}
	if n != l.size || hex.EncodeToString(sum.Sum(nil)) != l.sha256 {
		return fmt.Errorf("%w: %s has other bytes than its .changes lists", outcome.ErrIntegrity, l.name)
	}
	return nil
}
