package imageinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/buildsource"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// defaultSuffix is that of a version where the pkg.yaml has none.
const defaultSuffix = "+p1"

// pkg is a pkg.yaml that is rewritten: its lines, in order.
type pkg struct {
	w       *rewriter
	dir     string // in the tree
	text    strings.Builder
	name    string  // of the source
	source  *Source // nil: it is not known
	at      document.Position
	changed bool
	suffix  string
	use     *document.Node // is looked at when the source is known
}

func jsonOf(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // texts, and lists and maps of them, have no error
	return strings.TrimSuffix(b.String(), "\n")
}

func (p *pkg) line(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

// source rewrites a pkg.yaml, with the patches beside it. Only an error of the context is returned.
func (w *rewriter) source(ctx context.Context, dir string) error {
	name := filepath.Join(w.o.Dir, filepath.FromSlash(dir), buildsource.Name)
	data, err := document.ReadFile(name, document.MaxYAML)
	if err != nil {
		w.faults.Add(document.Errorf(document.Position{File: name}, "%w; a directory with a %s says how a source is built", bare(err), buildsource.Name))
		return nil
	}
	docs, err := document.Parse(name, data)
	if err == nil && len(docs) != 1 {
		err = document.Errorf(document.At(name, 1), "%d documents; a %s has one", len(docs), buildsource.Name)
	}
	if err != nil {
		w.faults.Add(err)
		return nil
	}
	pairs, err := docs[0].Pairs()
	w.faults.Add(err)
	p := &pkg{w: w, dir: dir, at: docs[0].At()}
	// The base decides what is said of others.
	if i := slices.IndexFunc(pairs, func(pair document.Pair) bool { return pair.Key == "base" }); i >= 0 {
		w.faults.Add(p.base(ctx, pairs[i].Node))
	} else {
		w.faults.Add(document.Errorf(p.at, "no base:; write base: nginx, a source package of Debian's"))
	}
	for _, pair := range pairs {
		w.faults.Add(p.key(ctx, pair))
	}
	if p.use != nil {
		w.faults.Add(p.flags(*p.use))
	}
	switch {
	case p.suffix != "":
		p.line("suffix: %s", jsonOf(p.suffix))
	case p.changed:
		p.line("suffix: %s", jsonOf(defaultSuffix))
		w.note(p.at, "suffix: "+defaultSuffix+" is added, so that two packages of one version never differ")
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if w.faults.Err() != nil {
		return nil
	}
	text := []byte(p.text.String())
	if _, err := buildsource.Parse(name, filepath.Dir(name), text); err != nil {
		w.faults.Add(err)
	}
	w.put(path.Join(dir, buildsource.Name), text)
	return nil
}

func (p *pkg) key(ctx context.Context, pair document.Pair) error {
	switch pair.Key { // of those that stay as they are a fault is told where it stands
	case "author", "build", "suffix", "profiles", "options", "env":
		if err := buildsource.Check(pair); err != nil {
			return err
		}
	}
	switch pair.Key {
	case "base":
		return nil
	case "author", "build":
		s, err := pair.Text()
		p.line("%s: %s", pair.Key, jsonOf(s))
		return err
	case "suffix":
		var err error
		p.suffix, err = pair.Text()
		return err
	case "profiles", "options":
		list, err := pair.Texts()
		p.changed = p.changed || len(list) > 0
		p.line("%s: %s", pair.Key, jsonOf(list))
		return err
	case "env":
		values, err := pair.Pairs()
		env := map[string]string{}
		for _, v := range values {
			text, err := v.Text()
			if err != nil {
				return err
			}
			env[v.Key] = text
		}
		p.changed = p.changed || len(env) > 0
		p.line("env: %s", jsonOf(env))
		return err
	case "patches":
		return p.patches(ctx, pair.Node)
	case "use":
		p.use = &pair.Node
		return nil
	}
	return document.Errorf(pair.KeyAt(), "unknown key %.40q; a %s has base, author, suffix, build, patches, use, profiles, options, env", document.OneLine(pair.Key), buildsource.Name)
}

// base finds the source package in the snapshot.
func (p *pkg) base(ctx context.Context, n document.Node) error {
	s, err := n.Text()
	if err != nil {
		return err
	}
	p.at = n.At()
	name, asked, ok := buildsource.ParseAtom(s)
	version := ""
	if !ok {
		name, version, ok = buildsource.ParseBase(s)
	}
	if p.name = name; !ok {
		return n.Errorf("%.80q is no source package; write nginx, or nginx (= 1.22.1-9)", document.OneLine(s))
	}
	if p.w.o.Source != nil {
		p.source, err = p.w.o.Source(ctx, p.name, version)
		if errors.Is(err, outcome.ErrNotFound) {
			return n.Errorf("%.80q: %w", document.OneLine(s), err)
		}
		if err != nil {
			return err
		}
		version = p.source.Version
	}
	now := p.name
	if version != "" {
		now += " (= " + version + ")"
	}
	p.line("base: %s", jsonOf(now))
	if now != s {
		text := fmt.Sprintf("base: %s is written as %s", document.OneLine(s), now)
		if asked != "" {
			text += fmt.Sprintf(", a source of Debian's, with its patches: %s was asked for", asked)
		}
		if p.source == nil {
			text += "; no snapshot was looked at, so the newest one is taken"
		}
		p.w.note(p.at, text)
	}
	return nil
}

// flags keeps the flags of use: that the source declares.
func (p *pkg) flags(n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	kept := map[string][]string{}
	for _, pair := range pairs {
		no := map[string]string{"with": "", "without": "no"}
		prefix, known := no[pair.Key]
		if !known {
			return document.Errorf(pair.KeyAt(), "use: unknown key %.40q; it has with and without", document.OneLine(pair.Key))
		}
		items, err := pair.Items()
		if err != nil {
			return err
		}
		for _, item := range items {
			flag, err := item.Text()
			if err != nil {
				return err
			}
			profile := "pkg." + p.name + "." + prefix + flag
			switch {
			case p.source == nil:
				p.w.note(item.At(), fmt.Sprintf("use: %s is kept as it is: no snapshot was looked at that tells whether %s has the build profile %s", flag, p.name, profile))
			case !slices.Contains(p.source.Profiles, profile):
				have := "none of its own"
				if len(p.source.Profiles) > 0 {
					have = strings.Join(p.source.Profiles, ", ")
				}
				p.w.note(item.At(), fmt.Sprintf("use: %s is left out: %s has no build profile %s (it has %s); what Debian builds it with stands in its debian/rules, and a patch of that changes it", flag, p.name, profile, have))
				continue
			}
			kept[pair.Key] = append(kept[pair.Key], flag)
		}
	}
	if len(kept) > 0 {
		p.changed = true
		p.line("use: %s", jsonOf(kept))
	}
	return nil
}

// patches are taken along; one from the network gets its digest.
func (p *pkg) patches(ctx context.Context, n document.Node) error {
	pairs, err := n.Pairs()
	if err != nil || len(pairs) == 0 {
		return err
	}
	p.changed = true
	p.line("patches:")
	var faults document.Faults
	for _, pair := range pairs {
		entry := map[string]string{}
		if _, ok := pair.Scalar(); ok {
			entry["why"], err = pair.Text()
			faults.Add(err)
		} else {
			faults.Add(pair.Mapping(document.Fields{
				"why":    func(n document.Node) (err error) { entry["why"], err = n.Text(); return err },
				"sha256": func(n document.Node) (err error) { entry["sha256"], err = n.Text(); return err },
			}))
		}
		key := pair.Key
		if !strings.Contains(key, "://") {
			key = path.Clean(filepath.ToSlash(key))
			if err := p.w.copy(path.Join(p.dir, key)); err != nil {
				faults.Add(document.Errorf(pair.KeyAt(), "patch %s: %w%s", pair.Key, bare(err), remedy(err)))
			}
		} else if entry["sha256"] == "" {
			if key, err = p.digest(ctx, pair, entry); err != nil {
				faults.Add(err)
			}
		}
		if len(entry) == 1 && entry["sha256"] == "" {
			p.line("  %s: %s", jsonOf(key), jsonOf(entry["why"]))
		} else {
			p.line("  %s: %s", jsonOf(key), jsonOf(entry))
		}
	}
	return faults.Err()
}

// digest fills in the digest of a patch from the network: of the file of its name beside the others, which is taken in its place, else of
// what its URL gives now.
func (p *pkg) digest(ctx context.Context, pair document.Pair, entry map[string]string) (string, error) {
	beside := path.Join("patches", path.Base(pair.Key))
	if err := p.w.copy(path.Join(p.dir, beside)); err == nil {
		f := p.w.tree.files[path.Join(p.dir, beside)]
		entry["sha256"] = snapshot.Sum(f.data).Hex()
		p.w.note(pair.KeyAt(), fmt.Sprintf("%s: the file %s is taken in its place, with its digest", pair.Key, beside))
		return beside, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return pair.Key, document.Errorf(pair.KeyAt(), "patch %s: %w", beside, bare(err))
	}
	data, err := p.w.o.Fetch(ctx, pair.Key)
	if err != nil {
		return pair.Key, document.Errorf(pair.KeyAt(), "patch %s has no digest, and cannot be fetched: %w; put it into %s, or write {why: .., sha256: ..}", pair.Key, err, path.Join(p.dir, beside))
	}
	if len(data) > buildsource.MaxPatch {
		return pair.Key, document.Errorf(pair.KeyAt(), "patch %s has %d bytes, more than %d", pair.Key, len(data), buildsource.MaxPatch)
	}
	entry["sha256"] = snapshot.Sum(data).Hex()
	p.w.note(pair.KeyAt(), fmt.Sprintf("%s: sha256 %s is filled in, of what it gives now: read the patch before you sign what is built with it", pair.Key, entry["sha256"]))
	return pair.Key, nil
}

// bare is an error of a file without its name, which is told in another way.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
