package run

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/pkg/deb"
)

// policyPath is the program that invoke-rc.d asks whether a service may be
// started; 101 is no (its specification is in /usr/share/doc/init-system-helpers).
const policyPath = "usr/sbin/policy-rc.d"

var policy = []byte("#!/bin/sh\nexit 101\n")

// install has dpkg unpack and configure everything. Afterwards touched tells what
// changed for the image's own packages.
func (r *runner) install() error {
	if err := r.begin(); err != nil {
		return err
	}
	// Helpers that are no part of the image are kept apart from those that are: what
	// the former make is left out. So each call of dpkg is for one kind, and between
	// two kinds the tree is looked at.
	helpers := slices.DeleteFunc(slices.Clone(r.pkgs), func(p *pkg) bool { return !p.helper })
	slices.SortStableFunc(helpers, func(a, b *pkg) int {
		// Others need the users that its script makes (mmdebstrap, run_essential).
		return number(b.Name == "base-passwd") - number(a.Name == "base-passwd")
	})
	if err := r.steps(helpers, "preinst", func(part []*pkg) error { return r.dpkg("--unpack", []string{"--force-depends"}, files(part)) }); err != nil {
		return err
	}
	if err := r.steps(helpers, "postinst", func(part []*pkg) error { return r.dpkg("--configure", []string{"--force-depends"}, names(part)) }); err != nil {
		return err
	}
	if len(helpers) > 0 {
		if err := r.dpkg("--configure", nil, []string{"--pending"}); err != nil {
			return err
		}
		if err := r.look(slices.ContainsFunc(helpers, func(p *pkg) bool { return !p.ours })); err != nil {
			return err
		}
	}
	if err := r.own(); err != nil {
		return err
	}
	if err := r.dropAlternatives(); err != nil {
		return err
	}
	if _, err := r.process.do(request{KillAll: true}); err != nil {
		return err
	}
	return r.dropPolicy()
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// begin lays the helpers out so that dpkg can run.
func (r *runner) begin() error {
	var links [][2]string
	if r.o.MergedUsr {
		for _, l := range rootfs.UsrLinks() {
			links = append(links, [2]string{l, "usr/" + l})
		}
		if _, err := r.process.do(request{Links: links}); err != nil {
			return err
		}
	}
	var first []string
	for _, p := range r.pkgs {
		// Without helpers, the packages of the image are all there is.
		if p.helper = p.helper || len(r.o.Helpers) == 0; p.helper {
			first = append(first, p.file)
		}
	}
	if _, err := r.process.do(request{Extract: first}); err != nil {
		return fmt.Errorf("lay the packages out: %w", err)
	}
	for _, w := range []written{
		{"var/lib/dpkg/status", 0o644, nil}, {"var/lib/dpkg/available", 0o644, nil}, {policyPath, 0o755, policy},
	} {
		if _, err := r.process.do(request{Write: &w}); err != nil {
			return err
		}
	}
	r.touched = map[string]bool{}
	return r.look(true)
}

// steps calls step for parts of the packages, in order, each part of one kind as
// far as it has scripts of that name.
func (r *runner) steps(pkgs []*pkg, script string, step func([]*pkg) error) error {
	var part []*pkg
	var kind, known bool // kind: of the image
	flush := func() error {
		if len(part) == 0 {
			return nil
		}
		if err := step(part); err != nil {
			return err
		}
		part = nil
		return nil
	}
	for _, p := range pkgs {
		if p.scripts[script] != nil && !p.skip {
			if known && kind != p.ours {
				if err := flush(); err != nil {
					return err
				}
				if err := r.look(!kind); err != nil {
					return err
				}
			}
			kind, known = p.ours, true
		}
		part = append(part, p)
	}
	if err := flush(); err != nil {
		return err
	}
	return r.look(known && !kind)
}

// own has dpkg unpack and configure the packages of the image that are no
// helpers: all are unpacked first, but what others pre-depend on is configured
// before those are unpacked (dpkg(1), deb-control(5)).
func (r *runner) own() error {
	var part []*pkg
	pending := map[string]bool{}
	unpack := func() error {
		if len(part) == 0 {
			return nil
		}
		defer func() { part = nil }()
		return r.dpkg("--unpack", nil, files(part))
	}
	for _, p := range r.pkgs {
		if p.helper {
			continue
		}
		if preDepends(p.stanza, pending) {
			if err := unpack(); err != nil {
				return err
			}
			// Of a loop some cannot be configured yet; dpkg says so when it matters.
			_ = r.dpkg("--configure", nil, []string{"--pending"})
			clear(pending)
		}
		part = append(part, p)
		for _, name := range append(provided(p.stanza), p.Name) {
			pending[name] = true
		}
	}
	if err := unpack(); err != nil {
		return err
	}
	if err := r.dpkg("--configure", nil, []string{"--pending"}); err != nil {
		return err
	}
	return r.look(false)
}

// preDepends tells whether a package pre-depends on one of these names.
func preDepends(s deb.Stanza, names map[string]bool) bool {
	for word := range strings.FieldsFuncSeq(s.Get("Pre-Depends"), func(c rune) bool { return c == ',' || c == '|' }) {
		name, _, _ := strings.Cut(strings.TrimSpace(word), " ")
		name, _, _ = strings.Cut(name, ":")
		if names[name] {
			return true
		}
	}
	return false
}

func provided(s deb.Stanza) []string {
	var out []string
	for word := range strings.SplitSeq(s.Get("Provides"), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(word), " ")
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

func files(pkgs []*pkg) []string {
	var out []string
	for _, p := range pkgs {
		out = append(out, debsDir+"/"+p.file)
	}
	return out
}

func names(pkgs []*pkg) []string {
	var out []string
	for _, p := range pkgs {
		out = append(out, p.arg())
	}
	return out
}

// dpkg calls dpkg in the root. Conffiles that a script made first are kept, as a
// user without a terminal would get them.
func (r *runner) dpkg(action string, options, args []string) error {
	call := append([]string{"dpkg", "--force-confdef", "--force-confold"}, options...)
	call = append(append(call, action), args...)
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.o.Date.Unix(), 10)}
	a, err := r.process.do(request{Run: call, Env: env})
	if err != nil {
		return fmt.Errorf("dpkg %s: %w", action, err)
	}
	if a.Code != 0 {
		return &ScriptError{Call: "dpkg " + action, Code: a.Code, Output: cutLines(a.Output, errorLines)}
	}
	return nil
}

// look notes what changed since the last look. What changed for helpers alone
// does not count.
func (r *runner) look(helpersOnly bool) error {
	a, err := r.process.do(request{Scan: true})
	if err != nil {
		return err
	}
	now := make(map[string]stat, len(a.Tree))
	for _, s := range a.Tree {
		now[s.Path] = s
		was, there := r.before[s.Path]
		if there && same(was, s) {
			continue
		}
		r.touched[s.Path] = !helpersOnly
	}
	for p := range r.before {
		if _, there := now[p]; !there {
			r.touched[p] = !helpersOnly
		}
	}
	r.before = now
	return nil
}

// same tells whether nobody changed what is at a path. A directory's times
// change with what is in it.
func same(a, b stat) bool {
	if a.kind() == unix.S_IFDIR && b.kind() == unix.S_IFDIR {
		return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID
	}
	return a == b
}

// dropAlternatives takes those alternatives out of the groups that packages of
// the image have part in, whose files are helpers'.
func (r *runner) dropAlternatives() error {
	const dir = "var/lib/dpkg/alternatives/"
	left, err := r.helpersPaths()
	if err != nil || len(left) == 0 {
		return err
	}
	done := false
	for p, s := range r.before {
		name, ok := strings.CutPrefix(p, dir)
		if !ok || s.kind() != unix.S_IFREG || !r.touched[p] {
			continue
		}
		text, err := r.process.read(p)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "/") || !left[r.canonical(line[1:])] {
				continue
			}
			done = true
			a, err := r.process.do(request{Run: []string{"update-alternatives", "--log", "/dev/null", "--remove", name, line}})
			if err != nil {
				return err
			}
			if a.Code != 0 {
				return &ScriptError{Call: "update-alternatives --remove " + name + " " + line, Code: a.Code, Output: cutLines(a.Output, errorLines)}
			}
		}
	}
	if done {
		return r.look(false)
	}
	return nil
}

// helpersPaths are the paths of helpers that are no part of the image, as far as
// no package of the image has them too.
func (r *runner) helpersPaths() (map[string]bool, error) {
	theirs, ours := map[string]bool{}, map[string]bool{}
	for _, p := range r.pkgs {
		list, err := r.list(p)
		if err != nil {
			return nil, err
		}
		for _, path := range list {
			if p.ours {
				ours[path] = true
			} else {
				theirs[path] = true
			}
		}
	}
	for p := range ours {
		delete(theirs, p)
	}
	return theirs, nil
}

// list is what dpkg says that a package has.
func (r *runner) list(p *pkg) ([]string, error) {
	text, err := r.process.read("var/lib/dpkg/info/" + p.infoName() + ".list")
	if err != nil {
		return nil, fmt.Errorf("package %s: its list of files: %w", p, err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if path := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/"); path != "" && path != "." {
			out = append(out, r.canonical(path))
		}
	}
	return out, nil
}

// canonical is a path as the tree has it if its first directory is a link into usr.
func (r *runner) canonical(p string) string {
	first, rest, deeper := strings.Cut(p, "/")
	if s, ok := r.before[first]; ok && deeper && s.kind() == unix.S_IFLNK && s.Target == "usr/"+first {
		return s.Target + "/" + rest
	}
	return p
}

// dropPolicy removes what forbade services to start, unless a package put its
// own into the place.
func (r *runner) dropPolicy() error {
	s, ok := r.before[policyPath]
	if !ok || s.kind() != unix.S_IFREG || s.Size != int64(len(policy)) {
		return nil
	}
	text, err := r.process.read(policyPath)
	if err != nil || string(text) != string(policy) {
		return err
	}
	if _, err := r.process.do(request{Remove: []string{policyPath}}); err != nil {
		return err
	}
	return r.look(false)
}
