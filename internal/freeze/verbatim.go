package freeze

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// target is what a listed file of a suite is to apt, told by its path.
type target struct {
	name string // as it is dropped by name, one of config.Targets; "" if it never is
	arch string // "" if for all
	lang string
}

// targetOf classifies a listed path without its component. The names follow
// apt's Acquire::IndexTargets (apt.conf(5)) in lower case; ok is false for what
// is never carried: pdiff indices, udebs, installer images.
func targetOf(p string) (t target, ok bool) {
	dir, base := path.Split(p)
	stem := strings.TrimSuffix(strings.TrimSuffix(base, ".xz"), ".gz")
	switch {
	case strings.Contains(p, ".diff/"), strings.HasPrefix(p, "debian-installer/"), strings.HasPrefix(p, "installer-"),
		strings.HasPrefix(stem, "Contents-udeb-"), strings.HasSuffix(base, ".bz2"), strings.HasSuffix(base, ".lzma"), strings.HasSuffix(base, ".zst"):
		return target{}, false
	case stem == "Packages", stem == "Sources":
		return target{}, false // read, not carried unread
	case base == "Release" && dir == "source/":
		return target{"", "source", ""}, true
	case base == "Release" && strings.HasPrefix(dir, "binary-"): // apt has no use for it; debmirror insists on it
		return target{"", strings.TrimSuffix(strings.TrimPrefix(dir, "binary-"), "/"), ""}, true
	case dir == "i18n/":
		lang, is := strings.CutPrefix(stem, "Translation-")
		return target{"translation", "", lang}, is
	case dir == "" && strings.HasPrefix(stem, "Contents-"):
		return target{"contents", strings.TrimPrefix(stem, "Contents-"), ""}, true
	case dir == "dep11/" && strings.HasPrefix(stem, "Components-"):
		return target{"dep11", strings.TrimSuffix(strings.TrimPrefix(stem, "Components-"), ".yml"), ""}, true
	case dir == "dep11/" && strings.HasPrefix(stem, "icons-"):
		return target{"dep11", "", ""}, true
	case dir == "cnf/" && strings.HasPrefix(stem, "Commands-"):
		return target{"cnf", strings.TrimPrefix(stem, "Commands-"), ""}, true
	}
	return target{"other", "", ""}, false
}

// extras finds the optional targets of the chosen components, architectures
// and languages that upstream really has: apt-get update fails for one that is
// listed and absent, so a verbatim archive carries them all unless dropped by name.
func (r *reader) extras(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite) error {
	taken := map[string]bool{}
	dropped := map[string]bool{}
	for _, e := range archive.IndexEndings {
		for _, f := range fs.release.Files {
			stem, ok := strings.CutSuffix(f.Path, e)
			if !ok || e == "" && hasEnding(f.Path) || taken[stem] {
				continue
			}
			t, ok := wantTarget(fa, f.Path)
			if !ok {
				continue
			}
			if slices.Contains(fa.Drop, t.name) {
				dropped[t.name] = true
				continue
			}
			x, err := r.extra(ctx, fa, fs, f)
			if errors.Is(err, upstream.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			taken[stem] = true
			fs.extra = append(fs.extra, x)
		}
	}
	for name := range dropped {
		fs.dropped = append(fs.dropped, name)
	}
	slices.Sort(fs.dropped)
	slices.SortFunc(fs.extra, func(a, b extraFile) int { return strings.Compare(a.path, b.path) })
	return nil
}

func hasEnding(p string) bool { return strings.HasSuffix(p, ".xz") || strings.HasSuffix(p, ".gz") }

// wantTarget tells whether the archive's configuration asks for a listed file.
func wantTarget(fa *upstreamArchive, p string) (target, bool) {
	for _, c := range fa.Components {
		rest, ok := strings.CutPrefix(p, c+"/")
		if !ok {
			continue
		}
		t, ok := targetOf(rest)
		isCarried := t.arch == "" || t.arch == "all" || slices.Contains(fa.Architectures, t.arch) || t.arch == "source" && fa.WithSources
		if !ok || !isCarried {
			return t, false
		}
		if t.lang != "" && len(fa.Languages) > 0 && !slices.Contains(fa.Languages, t.lang) {
			return t, false
		}
		return t, true
	}
	return target{}, false
}

// extra asks upstream for one listed file. Its digest is known from the
// Release, so that its bytes need not be read before they are pushed.
func (r *reader) extra(ctx context.Context, fa *upstreamArchive, fs *upstreamSuite, f archive.ReleaseFile) (extraFile, error) {
	x := extraFile{path: f.Path, blob: snapshot.Blob{Size: f.Size}}
	if f.Size == 0 {
		x.blob.Digest = snapshot.Sum(nil)
		return x, nil
	}
	var err error
	if x.blob.Digest, err = snapshot.ListedDigest(f.SHA256); err != nil {
		return x, fmt.Errorf("index %s: %w", f.Path, err)
	}
	rc, err := openListed(ctx, fa, fs, f)
	if err != nil {
		return x, mismatch(fs, f, err)
	}
	return x, rc.Close()
}
