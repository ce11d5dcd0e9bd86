package mirrors

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// events collects what a set logs.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, string(p))
	return len(p), nil
}

// count is how many events have all of these texts.
func (e *events) count(texts ...string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range e.all {
		has := true
		for _, t := range texts {
			has = has && strings.Contains(line, t)
		}
		if has {
			n++
		}
	}
	return n
}

func (e *events) log() *slog.Logger { return slog.New(slog.NewTextHandler(e, nil)) }

// world is a transport to mirrors that exist in the test alone, by host. It works within a bubble of package synctest.
type world struct {
	mu       sync.Mutex
	mirrors  map[string]http.Handler
	requests map[string]int
}

func newWorld() *world {
	return &world{mirrors: map[string]http.Handler{}, requests: map[string]int{}}
}

func (w *world) set(host string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mirrors[host] = h
}

func (w *world) asked(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[host]
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.mirrors[r.URL.Host]
	w.requests[r.URL.Host]++
	w.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connection refused")}
	}
	done := make(chan *http.Response, 1)
	go func() {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		resp := rec.Result()
		resp.ContentLength = int64(rec.Body.Len())
		done <- resp
	}()
	select {
	case resp := <-done:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// tree serves blobs as a mirror has them. Its map may be changed only before it is used.
type tree map[snapshot.Digest][]byte

func (t tree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, err := snapshot.ParseDigest("sha256:" + r.URL.Path[strings.LastIndexAny(r.URL.Path, "/:")+1:])
	data, ok := t[d]
	if err != nil || !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

func without(t tree, b snapshot.Blob) tree {
	t = maps.Clone(t)
	delete(t, b.Digest)
	return t
}

func with(t tree, b snapshot.Blob, data string) tree {
	t = maps.Clone(t)
	t[b.Digest] = []byte(data)
	return t
}

// blobs are n blobs, larger than a glimpse.
func blobs(n int) (all []snapshot.Blob, t tree) {
	t = tree{}
	for i := range n {
		data := []byte(strings.Repeat(fmt.Sprintf("%08d", i), 3*glimpse/8))
		b := snapshot.BlobOf(data)
		all, t[b.Digest] = append(all, b), data
	}
	return all, t
}

func list(t *testing.T, text string) []Mirror {
	t.Helper()
	all, err := Parse("mirrors.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const three = `
- {name: a, url: "https://a.example.org/"}
- {name: b, url: "https://b.example.org/"}
- {name: c, url: "https://c.example.org/m"}
`

// set is a set of three mirrors that have all blobs of t, and runs until the test ends.
func set(t *testing.T, text string, tr tree) (*Set, *world, *events) {
	t.Helper()
	w, e := newWorld(), &events{}
	for _, host := range []string{"a", "b", "c"} {
		w.set(host+".example.org", tr)
	}
	s := New(Options{Log: e.log(), Transport: w})
	s.Update(list(t, text))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() {
		time.Sleep(time.Minute) // looks that nobody waits for end
		cancel()
		<-done
	})
	return s, w, e
}

func want(b snapshot.Blob) Want {
	return Want{Blob: b, Client: "192.0.2.1", Host: "front.example.net", Repository: "site/app"}
}

// chosen is the mirror for a blob, for a client of its own; "": the front.
func chosen(s *Set, b snapshot.Blob) string {
	w := want(b)
	w.Client = fmt.Sprint("client", others.Add(1))
	c, _ := s.Choose(context.Background(), w)
	return c.Mirror
}

var others atomic.Int64

func TestChooseLooksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(50)
		s, w, _ := set(t, three, tr)
		for _, b := range all {
			if c, ok := s.Choose(t.Context(), want(b)); !ok || !strings.HasSuffix(c.URL, "/blobs/sha256/"+b.Digest.Hex()) {
				t.Fatalf("%s: %v, %v", b.Digest, c, ok)
			}
		}
		asked := w.asked("a.example.org") + w.asked("b.example.org") + w.asked("c.example.org")
		if asked != len(all) {
			t.Errorf("%d requests for %d blobs", asked, len(all))
		}
		for _, b := range all { // known now
			chosen(s, b)
		}
		if now := w.asked("a.example.org") + w.asked("b.example.org") + w.asked("c.example.org"); now != asked {
			t.Errorf("%d requests more", now-asked)
		}
	})
}

// Clients are sent nowhere for a blob that has not been looked at, and wait no longer than the patience for that.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(1)
		s, w, e := set(t, three, tr)
		slow := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { time.Sleep(2 * time.Second); tr.ServeHTTP(rw, r) })
		for _, host := range []string{"a", "b", "c"} {
			w.set(host+".example.org", slow)
		}
		start := time.Now()
		if m := chosen(s, all[0]); m != "" {
			t.Errorf("sent to %s unseen", m)
		}
		if took := time.Since(start); took != defaultPatience {
			t.Errorf("waited %s", took)
		}
		time.Sleep(3 * time.Second) // the look went on
		if chosen(s, all[0]) == "" {
			t.Error("not sent away although the look is over")
		}
		if n := e.count("mirror left"); n != 0 {
			t.Errorf("%d were left: %v", n, e.all)
		}
	})
}

// The order is the digest's own, follows weights, and a mirror that goes moves its own blobs alone.
func TestRendezvous(t *testing.T) {
	members := func(names ...string) (all []*member) {
		for i, n := range names {
			u, _ := url.Parse("https://" + n + ".example.org/")
			all = append(all, &member{Mirror: Mirror{Name: n, URL: u, Weight: 100 * (i + 1)}, state: newState(uint64(i), n)})
		}
		return all
	}
	s := New(Options{})
	four := members("a", "b", "c", "d")
	const n = 20_000
	got := map[string]int{}
	for i := range n {
		var d [8]byte
		binary.BigEndian.PutUint64(d[:], uint64(i))
		w := want(snapshot.Blob{Digest: sha256.Sum256(d[:]), Size: 1})
		first := s.best(four, w, nil)
		got[first.Name]++
		if without := s.best(four[:3], w, nil); first.Name != "d" && without != first {
			t.Fatalf("d went, and %s became %s", first.Name, without.Name)
		}
		if second := s.best(four, w, []*member{first}); second == first {
			t.Fatal("one that was tried is tried again")
		}
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		share := float64(i+1) / 10
		if bound := 5 * math.Sqrt(n*share*(1-share)); math.Abs(float64(got[name])-n*share) > bound {
			t.Errorf("%s: %d of %d, its share is %.1f", name, got[name], n, share)
		}
	}
}

// Every fault: the mirror is left, named once, counted; its clients go to the next mirror; and it is back after one success.
func TestFaults(t *testing.T) {
	all, tr := blobs(30)
	for _, c := range []struct {
		kind   Kind
		broken http.Handler
	}{
		{Dead, nil},
		{Slow, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
		{Refuses, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })},
		{Refuses, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })},
		{Redirects, http.RedirectHandler("http://u:secret@169.254.169.254/latest/meta-data?sign=secret", http.StatusFound)},
		{Redirects, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		})},
		{Itself, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusLoopDetected) })},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, e := set(t, three, tr)
				for _, b := range all {
					chosen(s, b)
				}
				var b snapshot.Blob // the first one of mirror a
				for _, b = range all {
					if chosen(s, b) == "a" {
						break
					}
				}
				if c.broken == nil {
					w.set("a.example.org", nil)
				} else {
					w.set("a.example.org", c.broken)
				}
				time.Sleep(30 * time.Second) // a was idle: it is looked at before a client is sent there
				chosen(s, b)
				time.Sleep(10 * time.Second)
				for _, b := range all {
					if got := chosen(s, b); got == "a" {
						t.Fatal("a client is sent to a broken mirror")
					}
				}
				if n := e.count("mirror left", "mirror=a", "fault="+string(c.kind)); n != 1 {
					t.Errorf("%d times in the log: %s", n, e.all)
				}
				st := s.Status()[0]
				if st.Fault == nil || st.Fault.Kind != c.kind || st.Faults[c.kind] != 1 {
					t.Errorf("status %v", st)
				}
				if strings.Contains(fmt.Sprint(e.all, st.Fault), "secret") {
					t.Errorf("a secret of a redirect is told: %s", e.all)
				}
				if w.asked("169.254.169.254") > 0 {
					t.Error("a redirect was followed")
				}
				time.Sleep(4 * time.Minute)
				if n := e.count("mirror left"); n != 1 {
					t.Errorf("%d times in the log after minutes", n)
				}
				before := w.asked("a.example.org")
				time.Sleep(10 * time.Minute)
				if n := w.asked("a.example.org") - before; n > 11 {
					t.Errorf("%d requests in ten minutes to a mirror that is left", n)
				}
				w.set("a.example.org", tr)
				time.Sleep(lastComeback + time.Second)
				if n := e.count("mirror back", "mirror=a"); n != 1 {
					t.Errorf("%d times back", n)
				}
				if got := chosen(s, b); got != "a" {
					t.Errorf("%s has the blob of a, which is back", got)
				}
			})
		})
	}
}

// A client that comes back for what it was sent away for is not sent to a dead mirror a second time.
func TestComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(1)
		s, w, _ := set(t, three, tr)
		c, ok := s.Choose(t.Context(), want(all[0]))
		if !ok {
			t.Fatal("not sent away")
		}
		time.Sleep(2 * again)
		w.set(strings.ToLower(c.Mirror)+".example.org", nil)
		if again, _ := s.Choose(t.Context(), want(all[0])); again.Mirror == c.Mirror {
			t.Error("sent to the dead mirror again")
		}
	})
}

// Wrong bytes, of any mirror, reach no client: nobody is sent there for them, and the mirror keeps its other blobs.
func TestWrongBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(40)
		s, w, e := set(t, three, tr)
		bad := all[7]
		lie := []byte(strings.Repeat("x", int(bad.Size)))
		for _, host := range []string{"a", "b", "c"} {
			w.set(host+".example.org", with(tr, bad, string(lie)))
		}
		for range 10 {
			if m := chosen(s, bad); m != "" {
				t.Fatalf("sent to %s for wrong bytes", m)
			}
			time.Sleep(time.Second)
		}
		if n := e.count("wrong bytes", bad.Digest.String()); n != 3 {
			t.Errorf("%d of 3 mirrors named: %v", n, e.all)
		}
		sent := 0
		for _, b := range all {
			if chosen(s, b) != "" {
				sent++
			}
		}
		if sent != len(all)-1 {
			t.Errorf("sent away for %d of the others", sent)
		}
		for _, st := range s.Status() {
			if st.Fault != nil || st.Faults[Wrong] != 1 {
				t.Errorf("%s: %v", st.Name, st)
			}
		}
		if n := e.count("mirror left"); n != 0 {
			t.Error("a mirror was left whole")
		}
		for _, host := range []string{"a", "b", "c"} { // mended
			w.set(host+".example.org", tr)
		}
		time.Sleep(wrongFor + time.Second)
		if chosen(s, bad) == "" {
			t.Error("never looked at again")
		}
	})
}

// Bytes that go wrong after they were looked at fail a client once: when it comes back they are looked at again.
func TestWrongLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(1)
		s, w, e := set(t, three, tr)
		first, _ := s.Choose(t.Context(), want(all[0]))
		time.Sleep(2 * time.Minute)
		w.set(first.Mirror+".example.org", with(tr, all[0], strings.Repeat("x", int(all[0].Size))))
		fooled, _ := s.Choose(t.Context(), want(all[0]))
		time.Sleep(10 * time.Second)
		back, ok := s.Choose(t.Context(), want(all[0]))
		if fooled.Mirror != first.Mirror || !ok || back.Mirror == first.Mirror {
			t.Errorf("%s, %s, %s", first.Mirror, fooled.Mirror, back.Mirror)
		}
		if e.count("wrong bytes", "mirror="+first.Mirror) != 1 {
			t.Errorf("%v", e.all)
		}
	})
}

// A mirror whose sizes are believed is believed no more after one wrong blob, which a sample or a client that comes back finds.
func TestSizesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(60)
		s, w, e := set(t, strings.Replace(three, `/"}`, `/", check: size}`, 1), tr)
		var ofA []snapshot.Blob
		for _, b := range all[:30] {
			if chosen(s, b) == "a" {
				ofA = append(ofA, b)
			}
		}
		if len(ofA) < 2 {
			t.Fatal("a has none")
		}
		lies := tr
		for _, b := range all[30:] {
			lies = with(lies, b, strings.Repeat("x", int(b.Size)))
		}
		w.set("a.example.org", lies)
		fooled := 0
		for _, b := range all[30:] {
			if chosen(s, b) == "a" {
				fooled++
				c := want(b)
				c.Client = "one"
				s.Choose(t.Context(), c)
				if got, _ := s.Choose(t.Context(), c); got.Mirror == "a" {
					t.Error("the client that came back is sent there again")
				}
			}
		}
		if fooled != 1 || e.count("wrong bytes", "mirror=a") < 1 {
			t.Errorf("%d clients fooled, %v", fooled, e.all)
		}
	})
}

// A mirror that lacks blobs is used for those that it has; the log says it once a minute with how many.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(60)
		s, w, e := set(t, three, tr)
		gone := tr
		for _, b := range all[:30] {
			gone = without(gone, b)
		}
		w.set("a.example.org", gone)
		used := false
		for i, b := range all {
			m := chosen(s, b)
			if i < 30 && (m == "a" || m == "") {
				t.Errorf("blob %d: %q", i, m)
			}
			used = used || m == "a"
		}
		if !used {
			t.Error("a is not used for what it has")
		}
		if n := e.count("lacks blobs", "mirror=a"); n != 1 {
			t.Errorf("%d lines", n)
		}
		w.set("a.example.org", tr)
		time.Sleep(missingFor + time.Second)
		caught := false
		for _, b := range all[:30] {
			caught = caught || chosen(s, b) == "a"
		}
		if !caught {
			t.Error("a caught up, and is not used for that")
		}
	})
}

// A registry before an object store redirects; a client that asks again may have failed there, and is sent elsewhere.
func TestRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(1)
		s, w, _ := set(t, "- {name: a, url: \"https://a.example.org/\", check: redirect}\n- {name: b, url: \"https://b.example.org/\", weight: 1}\n", tr)
		w.set("a.example.org", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("a password")
			}
			http.Redirect(w, r, "https://store.example.org/x?signed", http.StatusTemporaryRedirect)
		}))
		w.set("b.example.org", nil)
		same := func() string { // one client
			c, _ := s.Choose(t.Context(), want(all[0]))
			return c.Mirror
		}
		if m := same(); m != "a" {
			t.Errorf("%q", m)
		}
		time.Sleep(time.Second)
		if m := same(); m != "" {
			t.Errorf("again: %q", m)
		}
		time.Sleep(comesBack)
		if m := same(); m != "a" {
			t.Errorf("a minute later: %q", m)
		}
		if w.asked("store.example.org") > 0 {
			t.Error("the redirect was followed")
		}
		w.set("a.example.org", http.NotFoundHandler())
		time.Sleep(2 * wholeFor)
		if m := same(); m != "" {
			t.Errorf("it has the blob no more: %q", m)
		}
	})
}

func TestCarries(t *testing.T) {
	all := list(t, `
- {name: a, url: "https://a.example.org/", prefixes: [debian], architectures: [amd64], repositories: ["site/*"]}
- {name: h, url: "http://h.example.org/", allow-http: yes}
`)
	limited, plain := &all[0], &all[1]
	for _, c := range []struct {
		m    *Mirror
		w    Want
		want bool
	}{
		{limited, Want{Prefix: "debian", Architecture: "amd64"}, true},
		{limited, Want{Prefix: "debian", Architecture: "all"}, true},
		{limited, Want{Prefix: "debian", Architecture: "arm64"}, false},
		{limited, Want{Prefix: "debian", Architecture: "source"}, false},
		{limited, Want{Prefix: "ubuntu", Architecture: "amd64"}, false},
		{limited, Want{Repository: "site/app"}, true},
		{limited, Want{Repository: "other/app"}, false},
		{limited, Want{Repository: "site/app/deep"}, false},
		{plain, Want{Prefix: "debian"}, true},
		{plain, Want{Prefix: "debian", Secure: true}, false},
		{plain, Want{Repository: "site/app", Secure: true}, true},
	} {
		if got := c.m.carries(c.w); got != c.want {
			t.Errorf("%s, %+v: %v", c.m.Name, c.w, got)
		}
	}
}

func TestSharesCredentials(t *testing.T) {
	for _, c := range []struct {
		front, mirror string
		want          bool
	}{
		{"site.example.org", "site.example.org", true},
		{"site.example.org", "SITE.example.org.", true},
		{"site.example.org", "a.site.example.org", true},
		{"site.example.org", "asite.example.org", false},
		{"a.site.example.org", "site.example.org", false},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:DB8:0::1", true},
		{"", "a.example.org", false},
	} {
		if got := sharesHost(c.front, c.mirror); got != c.want {
			t.Errorf("%s, %s: %v", c.front, c.mirror, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(20)
		s, _, e := set(t, three+`- {name: d, url: "https://b.example.org/d/", shares-credentials: yes}`, tr)
		got := map[string]bool{}
		for range 3 {
			for _, b := range all {
				for _, host := range []string{"b.example.org", "B.example.org:5000", "[::1]:80", "example.org"} {
					w := want(b)
					w.Host = host
					c, ok := s.Choose(t.Context(), w)
					if !ok && host != "example.org" {
						t.Errorf("no mirror for %s", host)
					}
					if host == "example.org" && ok && c.Mirror != "d" {
						t.Errorf("%s is below %s", c.Mirror, host)
					}
					got[host+" "+c.Mirror] = true
				}
			}
		}
		if got["b.example.org b"] || got["B.example.org:5000 b"] || !got["[::1]:80 b"] || !got["b.example.org d"] {
			t.Errorf("%v", got)
		}
		if n := e.count("mirror not used", "mirror=b"); n != 2 {
			t.Errorf("%d lines", n)
		}
	})
}

// A list that is read again keeps what is known of mirrors that stay.
func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(10)
		s, w, _ := set(t, three, tr)
		w.set("a.example.org", nil)
		for _, b := range all {
			chosen(s, b)
		}
		s.Update(list(t, strings.Replace(three, `c.example.org/m"`, `c.example.org/n", weight: 7`, 1)))
		st := s.Status()
		if st[0].Fault == nil || st[1].Sent == 0 || st[2].Sent != 0 || st[2].Weight != 7 {
			t.Errorf("%v", st)
		}
		s.Update(nil)
		if m := chosen(s, all[0]); m != "" {
			t.Error(m)
		}
	})
}

// Memory is bounded, whatever clients ask for.
func TestGenerations(t *testing.T) {
	g := newGenerations[int, int](100)
	for i := range 10_000 {
		g.set(i, i)
		if v, ok := g.get(0); !ok || v != 0 { // asked for all the time
			t.Fatalf("0 is gone at %d", i)
		}
		if g.len() > 100 {
			t.Fatalf("%d entries", g.len())
		}
	}
	if _, ok := g.get(9_999); !ok {
		t.Error("the last one is gone")
	}
	if _, ok := g.get(5); ok {
		t.Error("an old one is there")
	}
}

// Many clients at once cost a mirror one look a blob, and what is under way is bounded.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, tr := blobs(1)
		s, w, _ := set(t, `[{name: a, url: "https://a.example.org/"}]`, tr)
		w.set("a.example.org", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { time.Sleep(100 * time.Millisecond); tr.ServeHTTP(rw, r) }))
		var wg sync.WaitGroup
		var sent atomic.Int64
		for range 500 {
			wg.Go(func() {
				if chosen(s, all[0]) == "a" {
					sent.Add(1)
				}
			})
		}
		wg.Wait()
		if n := w.asked("a.example.org"); n != 1 || sent.Load() != 500 {
			t.Errorf("%d looks, %d sent away", n, sent.Load())
		}
		many, more := blobs(200)
		var under, most atomic.Int64
		w.set("a.example.org", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			for n := under.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(100 * time.Millisecond)
			under.Add(-1)
			more.ServeHTTP(rw, r)
		}))
		for _, b := range many {
			wg.Go(func() { chosen(s, b) })
		}
		wg.Wait()
		if most.Load() > maxHashing {
			t.Errorf("%d blobs are read at once", most.Load())
		}
	})
}

// A mirror that breaks off or stalls in the middle of a blob is left until a blob comes whole.
func TestBreaksOff(t *testing.T) {
	all, tr := blobs(1)
	for _, kind := range []Kind{Dead, Slow} {
		t.Run(string(kind), func(t *testing.T) {
			var mended atomic.Bool
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if mended.Load() || r.Header.Get("Range") != "" { // the beginning comes
					tr.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Length", fmt.Sprint(all[0].Size))
				w.Write(tr[all[0].Digest][:10_000])
				w.(http.Flusher).Flush()
				if kind == Slow {
					<-r.Context().Done()
				}
			}))
			defer srv.Close()
			e := &events{}
			stall := stallAfter
			if kind == Slow {
				stall = 500 * time.Millisecond
			}
			s := New(Options{Log: e.log(), Patience: time.Minute, stall: stall, tick: time.Millisecond, firstWait: 10 * time.Millisecond})
			s.Update(list(t, fmt.Sprintf("[{name: a, url: %q, allow-http: yes}]", srv.URL)))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go s.Run(ctx)
			if c, ok := s.Choose(ctx, want(all[0])); ok {
				t.Fatalf("sent to %v", c)
			}
			time.Sleep(100 * time.Millisecond) // a look at the beginning would go well
			if e.count("mirror left", "fault="+string(kind)) != 1 || e.count("mirror back") != 0 {
				t.Errorf("%v", e.all)
			}
			mended.Store(true)
			for {
				if _, ok := s.Choose(ctx, want(all[0])); ok {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if e.count("mirror back") != 1 {
				t.Errorf("%v", e.all)
			}
		})
	}
}

// A mirror that drips, a few bytes now and then, is slow, whatever of a blob is looked at; so it holds no place for long.
func TestDrips(t *testing.T) {
	all, tr := blobs(1)
	for _, check := range []string{"size", "bytes"} {
		t.Run(check, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(all[0].Size))
				for i := 0; r.Context().Err() == nil; i++ {
					w.Write(tr[all[0].Digest][i : i+1])
					w.(http.Flusher).Flush()
					time.Sleep(5 * time.Millisecond)
				}
			}))
			defer srv.Close()
			e := &events{}
			s := New(Options{Log: e.log(), Patience: 10 * time.Second, stall: 300 * time.Millisecond})
			s.Update(list(t, fmt.Sprintf("[{name: a, url: %q, allow-http: yes, check: %s}]", srv.URL, check)))
			if c, ok := s.Choose(t.Context(), want(all[0])); ok {
				t.Fatalf("sent to %v", c)
			}
			if e.count("mirror left", "fault=slow") != 1 {
				t.Errorf("%v", e.all)
			}
		})
	}
}

// A mirror that does not say how long a blob is cannot be believed its size.
func TestNoSize(t *testing.T) {
	all, tr := blobs(1)
	for _, c := range []struct {
		check, span string
		sent        bool
	}{{"bytes", "", true}, {"size", "", false}, {"size", "bytes 0-16383/-5", false}, {"size", "bytes 0-16383/*", false}} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.span != "" {
				w.Header().Set("Content-Range", c.span)
				w.WriteHeader(http.StatusPartialContent)
			}
			w.(http.Flusher).Flush()
			w.Write(tr[all[0].Digest])
		}))
		e := &events{}
		s := New(Options{Log: e.log(), Patience: 10 * time.Second})
		s.Update(list(t, fmt.Sprintf("[{name: a, url: %q, allow-http: yes, check: %s}]", srv.URL, c.check)))
		if _, ok := s.Choose(t.Context(), want(all[0])); ok != c.sent {
			t.Errorf("%+v: sent %v, %v", c, ok, e.all)
		}
		if n := e.count("mirror left", "fault=refuses"); (n == 0) != c.sent {
			t.Errorf("%+v: %v", c, e.all)
		}
		srv.Close()
	}
}

// What a mirror says of itself takes little room in the log.
func TestLongStatus(t *testing.T) {
	all, tr := blobs(1)
	w, e := newWorld(), &events{}
	s := New(Options{Log: e.log(), Transport: longStatus{w}})
	w.set("a.example.org", tr)
	s.Update(list(t, `[{name: a, url: "https://a.example.org/"}]`))
	if c, ok := s.Choose(t.Context(), want(all[0])); ok {
		t.Fatalf("sent to %v", c)
	}
	for e.count("mirror left", "fault=refuses") == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := len(e.all[0]); n > 1000 {
		t.Errorf("%d bytes", n)
	}
}

type longStatus struct{ http.RoundTripper }

func (l longStatus) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.StatusCode, resp.Status = 503, "503 "+strings.Repeat("x", 60_000)
	}
	return resp, err
}

// A real mirror over TCP: one look is a GET without a password, and wrong sizes are found by the header.
func TestLookOnTheWire(t *testing.T) {
	all, tr := blobs(2)
	var head http.Header
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		head = r.Header.Clone()
		mu.Unlock()
		with(tr, all[1], "short").ServeHTTP(w, r)
	}))
	defer srv.Close()
	s := New(Options{Patience: time.Minute})
	s.Update(list(t, fmt.Sprintf("[{name: a, url: %q, allow-http: yes, registry: site/mirror, check: size}]", srv.URL)))
	c, ok := s.Choose(t.Context(), want(all[0]))
	if !ok || c.URL != srv.URL+"/v2/site/mirror/blobs/"+all[0].Digest.String() {
		t.Errorf("%v %v", c, ok)
	}
	mu.Lock()
	if head.Get("Range") == "" || head.Get(FrontHeader) != s.ID() || head.Get("Authorization") != "" {
		t.Errorf("%v", head)
	}
	mu.Unlock()
	if c, ok := s.Choose(t.Context(), want(all[1])); ok {
		t.Errorf("sent to %v for a blob of another size", c)
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{3, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			blob, tr := blobs(1)
			w := newWorld()
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "- {name: m%d, url: \"https://m%d.example.org/\"}\n", i, i)
				w.set(fmt.Sprintf("m%d.example.org", i), tr)
			}
			s := New(Options{Transport: w, Patience: time.Minute, aliveFor: time.Hour})
			all, err := Parse("m", []byte(text.String()))
			if err != nil {
				b.Fatal(err)
			}
			s.Update(all)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					want := want(blob[0])
					want.Client = "192.0.2." + fmt.Sprint(others.Add(1)) // none comes back
					if _, ok := s.Choose(context.Background(), want); !ok {
						b.Fatal("not sent away")
					}
				}
			})
		})
	}
}

// A mirror may speak HTTP/2 or not: it is found the same.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	all, tr := blobs(3)
	for _, two := range []bool{true, false} {
		var protocols sync.Map
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			protocols.Store(r.ProtoMajor, true)
			tr.ServeHTTP(w, r)
		}))
		srv.EnableHTTP2 = two
		srv.StartTLS()
		t.Cleanup(srv.Close)
		s := New(Options{Transport: srv.Client().Transport, Patience: 20 * time.Second})
		s.Update(list(t, fmt.Sprintf("- {name: m, url: %q, shares-credentials: yes}\n", srv.URL+"/")))
		for _, b := range all {
			if got := chosen(s, b); got != "m" {
				t.Errorf("HTTP/2 %v: %s is not sent to the mirror (%q)", two, b.Digest, got)
			}
		}
		lost := snapshot.BlobOf([]byte("not there"))
		if got := chosen(s, lost); got != "" {
			t.Errorf("HTTP/2 %v: sent to %q for what is not there", two, got)
		}
		if _, ok := protocols.Load(2); ok != two {
			t.Errorf("HTTP/2 was spoken: %v, want %v", ok, two)
		}
	}
}
