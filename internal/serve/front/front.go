// Package front has a server send its clients to mirrors: the list of mirrors, read again when it changes, whom a client
// is sent to, and the texts by which clients know the mirrors themselves.
package front

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.org/mmoci/internal/mirrors"
	"example.org/mmoci/internal/serve/metrics"
	"example.org/mmoci/internal/serve/watch"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// DirectPath is where the archives are answered for without a redirect: the last of what apt is told to try.
	DirectPath = "mmoci/direct/"
	// mirrorHeader names the mirror that a client is sent to.
	mirrorHeader = "X-Mmoci-Mirror"
)

// Front sends clients to mirrors; a nil one to nobody. Safe for concurrent use.
type Front struct {
	set  *mirrors.Set
	list *watch.File[[]mirrors.Mirror]
}

// Options of a front; the zero value but for File works.
type Options struct {
	// File is the path of the list of mirrors (package mirrors).
	File string
	// At are the URLs that clients reach the server at, as far as they are known; a mirror that is one of them is refused.
	At  []*url.URL
	Log *slog.Logger
	// Report is told when the list changed, and why it cannot be used if it cannot; then the mirrors stay. nil: nobody is.
	Report func(error)
}

// Open reads the list; here a bad one is an error.
func Open(o Options) (*Front, error) {
	f := &Front{set: mirrors.New(mirrors.Options{Log: o.Log})}
	parse := func(contents [][]byte) ([]mirrors.Mirror, error) {
		all, err := mirrors.Parse(o.File, contents[0])
		if err != nil {
			return nil, err
		}
		return all, mirrors.CheckFront(o.File, all, o.At...)
	}
	report := func(all []mirrors.Mirror, err error) {
		if o.Report != nil {
			o.Report(err)
		}
		if err == nil {
			f.set.Update(all)
		}
	}
	var err error
	if f.list, err = watch.Open(mirrors.MaxBytes, parse, report, o.File); err != nil {
		return nil, fmt.Errorf("mirrors: %w", err)
	}
	f.set.Update(f.list.Get())
	return f, nil
}

// URLs are those of a server with a base URL, "" if it has none, and of the addresses that it listens on.
func URLs(base, scheme string, listen []string) (all []*url.URL) {
	add := func(text string) {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			all = append(all, u)
		}
	}
	if base != "" {
		add(base)
	}
	for _, addr := range listen {
		if !strings.HasPrefix(addr, "unix:") {
			add(scheme + "://" + addr)
		}
	}
	return all
}

// Look reads the list again if it changed.
func (f *Front) Look() {
	if f != nil {
		f.list.Look()
	}
}

// Run looks at the mirrors, so that clients are sent to none that died, until ctx ends.
func (f *Front) Run(ctx context.Context) {
	if f != nil {
		f.set.Run(ctx)
	}
}

// Asks tells whether a request is one of this front itself, which then is its own mirror.
func (f *Front) Asks(r *http.Request) bool {
	return f != nil && r.Header.Get(mirrors.FrontHeader) == f.set.ID()
}

// Send sets the headers of a redirect to the mirror that has what is wanted, and returns its name; false: nobody has it, and
// nothing was changed.
func (f *Front) Send(ctx context.Context, h http.Header, w mirrors.Want) (mirror string, ok bool) {
	to, ok := f.set.Choose(ctx, w)
	if !ok {
		return "", false
	}
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges"} { // of the file
		delete(h, name)
	}
	h["Location"] = []string{to.URL}
	h["Cache-Control"] = []string{"no-store"}
	h[mirrorHeader] = []string{to.Mirror}
	h["Content-Length"] = []string{"0"}
	return to.Mirror, true
}

// Text is a text of mirrors for clients, by its name below /setup/, and the prefix of the archive that it is of, if it is of one;
// false: it is none. registry tells that the server has /v2/.
func (f *Front) Text(v web.View, name string, registry bool) (text, prefix string, ok bool) {
	if f == nil || v.Fixed {
		return "", "", false
	}
	prefix, list := strings.CutSuffix(name, web.MirrorList)
	switch {
	case list:
		if _, a := v.Find(prefix); a == nil {
			return "", "", false
		}
		return mirrors.AptList(v.Base, v.Base+"/"+strings.TrimSuffix(DirectPath, "/"), prefix, f.set.Status()), prefix, true
	case name == web.HostsToml && registry:
		return mirrors.ContainerdHosts(v.Base, f.set.Status()), "", true
	case name == web.RegistriesConf && registry:
		return mirrors.RegistriesConf(v.Base, imageHosts(v), f.set.Status()), "", true
	}
	return "", "", false
}

// Names are those of the texts that Text has, for a server with these archives.
func (f *Front) Names(prefixes []string, registry bool) (names []string) {
	if f == nil {
		return nil
	}
	for _, prefix := range prefixes {
		names = append(names, prefix+web.MirrorList)
	}
	if registry {
		names = append(names, web.HostsToml, web.RegistriesConf)
	}
	return names
}

// imageHosts are the registries that images of the snapshots are named by, sorted.
func imageHosts(v web.View) (hosts []string) {
	for _, s := range v.Snapshots {
		for i := range s.Statement.Images {
			if host, _, _, ok := snapshot.CutImageName(s.Statement.Images[i].Name); ok {
				hosts = append(hosts, host)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// States are the mirrors as metrics have them.
func (f *Front) States() (all []metrics.Mirror) {
	if f == nil {
		return nil
	}
	for _, st := range f.set.Status() {
		m := metrics.Mirror{Name: st.Name, Used: st.Fault == nil, Redirects: st.Sent, Bytes: st.Bytes, Faults: map[string]int64{}}
		for _, kind := range mirrors.Kinds {
			m.Faults[string(kind)] = st.Faults[kind]
		}
		all = append(all, m)
	}
	return all
}

// Troubles are the mirrors that are left, for people.
func (f *Front) Troubles() (list []string) {
	if f == nil {
		return nil
	}
	for _, st := range f.set.Status() {
		if st.Fault != nil {
			list = append(list, fmt.Sprintf("mirror %s is not used: %s; its clients are served from here", st.Name, st.Fault.Kind))
		}
	}
	return list
}
