package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// Strategies are the orders in which mirrors and what they mirror are asked.
func Strategies() []string { return []string{"mirror", "mirror-first", "upstream", "upstream-first"} }

func setStrategy(dst *string) func(document.Node) error {
	return func(n document.Node) error {
		s, err := n.Text()
		if err == nil && !slices.Contains(Strategies(), s) {
			err = n.Errorf("is %q, should be one of %s", s, strings.Join(Strategies(), ", "))
		}
		*dst = s
		return err
	}
}

// rewrite makes the address of a mirror of another one.
type rewrite struct {
	from *regexp.Regexp
	to   string
	used bool
	at   document.Node
}

// mirrors reads mirrors:, a list of {from, to}.
func (l *loader) mirrors(n document.Node) error {
	return n.Each(func(item document.Node) error {
		var from, to string
		err := item.Mapping(document.Fields{"from": document.SetText(&from), "to": document.SetText(&to)})
		if err != nil {
			return err
		}
		r, err := newRewrite(from, to)
		if err != nil {
			err = item.Errorf("%w", err)
		}
		r.at = item
		l.rewrites = append(l.rewrites, r)
		return err
	})
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

func newRewrite(from, to string) (rewrite, error) {
	example := `write {from: "https://{host}/{path}", to: "https://mirror.example.org/{host}/{path}"}`
	for _, s := range []struct{ key, value string }{{"from", from}, {"to", to}} {
		if s.value == "" {
			return rewrite{}, fmt.Errorf("no %s:; %s", s.key, example)
		}
		for _, p := range placeholder.FindAllString(s.value, -1) {
			if p != "{host}" && p != "{path}" || strings.Count(s.value, p) > 1 {
				return rewrite{}, fmt.Errorf("%s: %s: {host} and {path} stand for parts, each once; %s", s.key, s.value, example)
			}
		}
		if !strings.HasSuffix(s.value, "/{path}") {
			return rewrite{}, fmt.Errorf("%s: %s does not end in /{path}, so nothing lies below it; %s", s.key, s.value, example)
		}
		plain := strings.NewReplacer("{host}", "host.example.org", "{path}", "path").Replace(s.value)
		if u, err := url.Parse(plain); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return rewrite{}, fmt.Errorf("%s: %s is no address of http or https; %s", s.key, s.value, example)
		}
	}
	if strings.Contains(to, "{host}") && !strings.Contains(from, "{host}") {
		return rewrite{}, fmt.Errorf("to: %s has a {host} that from: does not take; %s", to, example)
	}
	pattern := regexp.QuoteMeta(from)
	pattern = strings.Replace(pattern, regexp.QuoteMeta("{host}"), `(?P<host>[^/@]+)`, 1)
	pattern = strings.Replace(pattern, regexp.QuoteMeta("{path}"), `(?P<path>[^?#]+)`, 1)
	re, err := regexp.Compile("^" + pattern + "$")
	return rewrite{from: re, to: to}, err
}

// of is the address of the mirror; ok is false where there is none of it.
func (r *rewrite) of(address string) (mirror string, ok bool) {
	m := r.from.FindStringSubmatch(address)
	if m == nil {
		return "", false
	}
	var pairs []string
	for i, name := range r.from.SubexpNames() {
		if name != "" {
			pairs = append(pairs, "{"+name+"}", m[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(r.to), true
}

// mirrored are the mirrors of addresses, in the order of the rules, each once.
func (l *loader) mirrored(addresses []string) (out []string) {
	for i := range l.rewrites {
		for _, address := range addresses {
			if m, ok := l.rewrites[i].of(address); ok && !slices.Contains(out, m) && !slices.Contains(addresses, m) {
				l.rewrites[i].used = true
				out = append(out, m)
			}
		}
	}
	return out
}

// arrange puts the URLs of each archive, its mirror: and its addresses by mirrors: into the order that its strategy asks for.
func (l *loader) arrange() error {
	var faults document.Faults
	for i := range l.plan.Archives {
		a := &l.plan.Archives[i]
		upstreams, mirrors, how := a.URLs, []string(nil), l.strategy
		if i < len(l.archived) {
			d := &l.archived[i]
			upstreams = d.urls
			if d.mirrorURL != "" {
				mirrors = append(mirrors, d.mirrorURL)
			}
			if d.how != "" {
				how = d.how
			}
		}
		mirrors = append(mirrors, l.mirrored(upstreams)...)
		if a.Mirrors = mirrors; len(mirrors) > 0 {
			a.upstreams = upstreams
		}
		if i < len(l.archived) && l.archived[i].how != "" && (len(mirrors) == 0 || len(upstreams) == 0) {
			faults.Add(l.archived[i].howAt.Errorf("chooses between mirror: and url:, which must both be given; for a fallback without it write url: [FIRST, SECOND]"))
			continue
		}
		a.URLs = inOrder(how, upstreams, mirrors)
		for j := range a.Files {
			f := &a.Files[j]
			f.upstreams, f.mirrors = f.URLs, l.mirrored(f.URLs)
			a.Mirrors = append(a.Mirrors, f.mirrors...)
			f.URLs = inOrder(how, f.upstreams, f.mirrors)
		}
	}
	for _, o := range l.plan.Others {
		if o.Files != nil {
			o.Files.Mirror(l.strategy, l.mirrored, inOrder)
		}
	}
	for _, r := range l.rewrites {
		if !r.used {
			faults.Add(r.at.Errorf("from: fits no url: of the archives, so it mirrors nothing; correct or remove it"))
		}
	}
	return faults.Err()
}

// inOrder is the order in which a strategy asks; without one mirrors come first.
func inOrder(strategy string, upstreams, mirrors []string) []string {
	switch {
	case strategy == "mirror" && len(mirrors) > 0:
		return mirrors
	case strategy == "upstream" && len(upstreams) > 0:
		return upstreams
	case strategy == "upstream-first":
		return append(slices.Clip(upstreams), mirrors...)
	}
	return append(slices.Clip(mirrors), upstreams...)
}

// SetStrategy changes the order for all archives that have a mirror; ErrUsage if the strategy is unknown, or no archive has
// one. Archives without keep their URLs, but with "mirror" there must be none.
func (p *Plan) SetStrategy(strategy string) error {
	at := document.Position{File: p.File}
	if !slices.Contains(Strategies(), strategy) {
		return document.Errorf(at, "strategy %q; known are %s", strategy, strings.Join(Strategies(), ", "))
	}
	some := false
	for i := range p.Archives {
		a := &p.Archives[i]
		if len(a.Mirrors) == 0 {
			if strategy == "mirror" && len(a.URLs)+len(a.Files) > 0 {
				return document.Errorf(a.Position, "archive %s has no mirror, which strategy mirror asks alone; write mirror: or mirrors:", a.Prefix)
			}
			continue
		}
		some = true
		if len(a.upstreams) > 0 || len(a.Files) == 0 {
			mirrors := slices.DeleteFunc(slices.Clone(a.Mirrors), func(m string) bool {
				return slices.ContainsFunc(a.Files, func(f File) bool { return slices.Contains(f.mirrors, m) })
			})
			a.URLs = inOrder(strategy, a.upstreams, mirrors)
		}
		for j := range a.Files {
			f := &a.Files[j]
			f.URLs = inOrder(strategy, f.upstreams, f.mirrors)
		}
	}
	for _, o := range p.Others {
		if o.Files == nil {
			continue
		}
		mirrored, all := o.Files.SetStrategy(strategy, inOrder)
		if some = some || mirrored; strategy == "mirror" && !all {
			return document.Errorf(o.Position, "archive %s has files without a mirror, which strategy mirror asks alone; write mirrors:", o.Prefix)
		}
	}
	if !some {
		return document.Errorf(at, "strategy %s: no archive has a mirror; write mirror: beside its url:, or mirrors: at the top", strategy)
	}
	return nil
}
