package suites

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/parallel"
	"example.org/mmoci/internal/spool"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Index is a Packages or Sources index that was read.
type Index struct {
	Component, Arch string
	Path            string // as taken, with the ending of its compression, relative to the suite
	Digest          snapshot.Digest
	// Off the heap: the indices of a release are far more than what is chosen from them.
	Stored *spool.Bytes // as upstream has it
	Text   *spool.Bytes // decompressed; both are nil if the index was not read
}

// Extra is a listed file that is carried unread.
type Extra struct {
	Path string
	Blob snapshot.Blob
}

// readIndices reads the indices of a suite that are asked for, and finds the
// optional targets of a verbatim one. A suite whose Release the lock names
// otherwise than upstream has it now is read from the previous snapshot.
func readIndices(ctx context.Context, f Options, now *Head) (*Suite, error) {
	s, err := lockedSuite(ctx, f, now)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	wanted, err := s.wantedIndices()
	if err != nil {
		return nil, err
	}
	indices := make([]*Index, len(wanted))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel.Workers)
	for i, w := range wanted {
		g.Go(func() (err error) {
			indices[i], err = s.index(gctx, f, w)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	indices = slices.DeleteFunc(indices, func(ix *Index) bool { return ix == nil })
	if !s.Source.Verbatim {
		return &Suite{Head: *s, Indices: indices}, nil
	}
	extra, dropped, err := s.extras(ctx)
	return &Suite{Head: *s, Indices: indices, Extra: extra, Dropped: dropped}, err
}

// wantedIndex is an index to be read, its path without compression ending.
type wantedIndex struct{ component, arch, path string }

// wantedIndices lists the Packages (and Sources) indices of the chosen
// components and architectures; one that the suite does not have is said here,
// before anything is fetched.
func (s *Head) wantedIndices() ([]wantedIndex, error) {
	if snapshot.IsFlat(s.Name) {
		out := []wantedIndex{{"", "", "Packages"}}
		if s.Source.NeedsSources() {
			out = append(out, wantedIndex{"", "source", "Sources"})
		}
		return out, nil
	}
	var out []wantedIndex
	for _, c := range slices.Sorted(slices.Values(s.Source.Components)) {
		archs := slices.Sorted(slices.Values(s.Source.Architectures))
		if slices.Contains(s.Release.Architectures, "all") && !s.Release.NoSupportForAll {
			archs = append(archs, "all")
		}
		found := false
		for _, a := range archs {
			w := wantedIndex{c, a, c + "/binary-" + a + "/Packages"}
			if len(s.Release.Compressions(w.path)) > 0 {
				out, found = append(out, w), true
			} else if a != "all" && !slices.Contains(s.Release.Architectures, a) {
				return nil, fmt.Errorf("%w: architecture %s; it has %s", outcome.ErrNotFound, a, strings.Join(s.Release.Architectures, " "))
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: component %s; it has %s", outcome.ErrNotFound, c, strings.Join(indexedComponents(s.Release), " "))
		}
		if s.Source.NeedsSources() {
			w := wantedIndex{c, "source", c + "/source/Sources"}
			if len(s.Release.Compressions(w.path)) == 0 {
				key := "build-depends"
				if s.Source.TakesSources() {
					key = "with-sources"
				}
				return nil, fmt.Errorf("%w: %s: component %s has no %s", outcome.ErrNotFound, key, c, w.path)
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// indexedComponents are the components that a Release has indices of. Its field
// may spell them otherwise ("updates/main" for main).
func indexedComponents(rel *archive.Release) []string {
	var out []string
	for _, f := range rel.Files {
		if c, _, ok := archive.IndexName(f.Path); ok && c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// index reads one index in the most preferred compression that upstream has.
// nil without error: listed as empty, or (arch "all") not there at all.
func (s *Head) index(ctx context.Context, f Options, w wantedIndex) (*Index, error) {
	files := s.Release.Compressions(w.path)
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: index %s is not listed in the Release", outcome.ErrNotFound, w.path)
	}
	for _, file := range files {
		if file.Size == 0 {
			return nil, nil
		}
		stored, err := s.fetch(ctx, file)
		if errors.Is(err, upstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ix := &Index{Component: w.component, Arch: w.arch, Path: file.Path, Digest: snapshot.Sum(stored)}
		return ix, s.unpack(ix, file, stored)
	}
	if s.Previous != nil {
		return lockedIndex(f.Lock, s, w), nil
	}
	return nil, fmt.Errorf("%w: index %s is listed, but upstream has it in none of the compressions that are read: %w", errMoved, w.path, upstream.ErrNotFound)
}

// unpack gives an index its text, and keeps what upstream has of it.
func (s *Head) unpack(ix *Index, file archive.ReleaseFile, stored []byte) error {
	var text spool.Writer
	var has512 finder
	err := s.Release.UnpackTo(io.MultiWriter(&text, &has512), file, stored, archive.MaxIndex)
	if err != nil {
		return fmt.Errorf("%w: index %s: %w", outcome.ErrIntegrity, file.Path, err)
	}
	ix.Text = text.Done()
	if has512.found {
		if err := checkSHA256(path.Join(s.Dir, file.Path), ix.Text); err != nil {
			return err
		}
	}
	ix.Stored, err = spool.Keep(stored)
	return err
}

// finder looks for "512:", the end of a field's name, in what is written to it.
type finder struct {
	found bool
	tail  []byte
}

func (f *finder) Write(p []byte) (int, error) {
	const what = "512:"
	if !f.found {
		head := append(f.tail, p[:min(len(p), len(what)-1)]...)
		f.found = bytes.Contains(head, []byte(what)) || bytes.Contains(p, []byte(what))
		if len(p) >= len(what)-1 {
			head = p
		}
		f.tail = append([]byte(nil), head[max(0, len(head)-len(what)+1):]...)
	}
	return len(p), nil
}

// checkSHA256 refuses a Packages index with a stanza that has SHA512 alone.
func checkSHA256(name string, text *spool.Bytes) error {
	in := deb.NewIndexReader(text.Open())
	for {
		st, err := in.Next()
		if err == nil {
			_, err = archive.ParsePackageFile(st)
		}
		_, malformed := errors.AsType[*deb.StanzaError](err)
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, archive.ErrSHA512Alone):
			return fmt.Errorf("%w: %s:%d: package %s %s has SHA512 alone; every stanza needs a SHA256, by which its file is found",
				outcome.ErrUsage, name, in.Line(), st.Get("Package"), st.Get("Version"))
		case st == nil && err != nil && !malformed:
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// fetch reads a listed file whole and verifies it by size and digests.
func (s *Head) fetch(ctx context.Context, f archive.ReleaseFile) ([]byte, error) {
	name := path.Join(s.Dir, f.Path)
	verify := func(data []byte) error {
		if err := f.Matches(data); err != nil {
			return fmt.Errorf("%w: %s %w: %w", outcome.ErrIntegrity, name, errMoved, err)
		}
		return nil
	}
	if s.Previous == nil {
		algorithm, hash := s.byHash(f)
		data, err := s.Source.Up.GetIndex(ctx, name, algorithm, hash, f.Size, verify)
		return data, s.mismatch(f, err)
	}
	rc, err := s.openPrevious(ctx, f)
	if err != nil {
		return nil, s.mismatch(f, err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, f.Size+1))
	if err != nil {
		return nil, s.mismatch(f, err)
	}
	return data, verify(data)
}

// Open opens a listed file; its reader verifies it.
func (s *Head) Open(ctx context.Context, f archive.ReleaseFile) (io.ReadCloser, error) {
	name := path.Join(s.Dir, f.Path)
	algorithm, hash := s.byHash(f)
	switch {
	case s.Previous != nil:
		return s.openPrevious(ctx, f)
	case algorithm != "":
		return s.Source.Up.OpenIndex(ctx, name, algorithm, hash, f.Size)
	}
	return s.Source.Up.Open(ctx, name, f.Size)
}

// Paths are those by which a listed file may be asked for.
func (s *Head) Paths(f archive.ReleaseFile) []string {
	name := path.Join(s.Dir, f.Path)
	if algorithm, hash := s.byHash(f); algorithm != "" {
		return []string{path.Join(path.Dir(name), "by-hash", algorithm, strings.ToLower(hash)), name}
	}
	return []string{name}
}

// byHash tells by which digest a listed file is asked for; "" by none.
func (s *Head) byHash(f archive.ReleaseFile) (algorithm, hash string) {
	switch {
	case !s.Release.AcquireByHash:
		return "", ""
	case f.SHA512 != "":
		return "SHA512", f.SHA512
	}
	return "SHA256", f.SHA256
}

// mismatch marks a file that upstream has otherwise than its Release lists it:
// a failure of integrity, unless the Release has changed meanwhile.
func (s *Head) mismatch(f archive.ReleaseFile, err error) error {
	if err == nil {
		return nil
	}
	name := path.Join(s.Dir, f.Path)
	if errors.Is(err, upstream.ErrChanged) {
		return fmt.Errorf("%w: %s %w: %w", outcome.ErrIntegrity, name, errMoved, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

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
	stem := archive.PlainName(base)
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
func (s *Head) extras(ctx context.Context) (extra []Extra, dropped []string, err error) {
	if s.unlike != "" {
		dropped = append(dropped, s.unlike)
	}
	taken := map[string]bool{}
	for _, ending := range archive.IndexEndings {
		for _, f := range s.Release.Files {
			stem, ok := strings.CutSuffix(f.Path, ending)
			if !ok || ending == "" && archive.PlainName(f.Path) != f.Path || taken[stem] {
				continue
			}
			t, ok := s.Source.wantTarget(f.Path)
			if !ok {
				continue
			}
			if slices.Contains(s.Source.Drop, t.name) {
				dropped = append(dropped, t.name)
				continue
			}
			x, err := s.extra(ctx, f)
			if errors.Is(err, upstream.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			taken[stem] = true
			extra = append(extra, x)
		}
	}
	slices.Sort(dropped)
	slices.SortFunc(extra, func(a, b Extra) int { return strings.Compare(a.Path, b.Path) })
	return extra, slices.Compact(dropped), nil
}

// extra asks upstream for one listed file. Its digest is known from the
// Release, so that its bytes need not be read before they are pushed.
func (s *Head) extra(ctx context.Context, f archive.ReleaseFile) (Extra, error) {
	blob, err := snapshot.ListedBlob(f)
	if err != nil {
		return Extra{}, fmt.Errorf("index %s: %w", f.Path, err)
	}
	if f.Size == 0 {
		blob.Digest = snapshot.Sum(nil)
		return Extra{f.Path, blob}, nil
	}
	rc, err := s.Open(ctx, f)
	if err != nil {
		return Extra{}, s.mismatch(f, err)
	}
	return Extra{f.Path, blob}, rc.Close()
}

// wantTarget tells whether the archive's configuration asks for a listed file.
func (src *Source) wantTarget(p string) (target, bool) {
	for _, c := range src.Components {
		rest, ok := strings.CutPrefix(p, c+"/")
		if !ok {
			continue
		}
		t, ok := targetOf(rest)
		isCarried := t.arch == "" || t.arch == "all" || slices.Contains(src.Architectures, t.arch) || t.arch == "source" && src.WithSources
		if !ok || !isCarried {
			return t, false
		}
		if t.lang != "" && len(src.Languages) > 0 && !slices.Contains(src.Languages, t.lang) {
			return t, false
		}
		return t, true
	}
	return target{}, false
}

type SourceID struct{ Name, Version string }

// Sources takes what is wanted out of a Sources index. What it finds is wanted no more.
func (ix *Index) Sources(wanted map[SourceID]string) (found []deb.Stanza, err error) {
	in := deb.NewIndexReader(ix.Text.Open())
	for {
		st, err := in.Next()
		if _, malformed := errors.AsType[*deb.StanzaError](err); malformed {
			continue
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		id := SourceID{st.Get("Package"), st.Get("Version")}
		if _, ok := wanted[id]; ok {
			delete(wanted, id)
			found = append(found, bytes.Clone(st))
		}
	}
}
