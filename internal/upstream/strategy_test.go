package upstream

import (
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mirror and what it mirrors, one of them at fault, in every order: who gives the file, who is asked, and what is said of
// the other. Four orders, five conditions, two places. A place that stalls is left after SlowFor where there is another.
func TestStrategies(t *testing.T) {
	faults := map[string]http.HandlerFunc{
		"ok": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
		},
		"404":   http.NotFound,
		"lies":  func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("x", len(body))) },
		"reset": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"stalls": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", itoa(len(body)))
			io.WriteString(w, body[:len(body)/2])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}
	says := map[string]string{"404": "not found", "lies": "other bytes than were signed", "reset": "connection closed", "stalls": "stalled"}
	url := map[string]string{"mirror": "http://archive.example.org/mirror", "upstream": "http://archive.example.org/upstream"}
	orders := map[string][]string{
		"mirror": {"mirror"}, "mirror-first": {"mirror", "upstream"}, "upstream": {"upstream"}, "upstream-first": {"upstream", "mirror"},
	}
	cells := 0
	for strategy, order := range orders {
		for fault := range faults {
			for at := range url {
				cells++
				t.Run(strategy+"/"+fault+" at "+at, func(t *testing.T) {
					var mu sync.Mutex
					asked := map[string]int{}
					h := func(w http.ResponseWriter, r *http.Request) {
						name := strings.Split(r.URL.Path, "/")[1]
						mu.Lock()
						asked[name]++
						mu.Unlock()
						if name == at {
							faults[fault](w, r)
						} else {
							faults["ok"](w, r)
						}
					}
					inBubble(t, h, func(t *testing.T, o Options) {
						o.URLs, o.Record, o.Retries = nil, true, -1
						for _, name := range order {
							o.URLs = append(o.URLs, url[name])
						}
						u, err := New(o)
						if err != nil {
							t.Fatal(err)
						}
						start := time.Now()
						err = readVerified(t, u, "pool/f.deb")
						took := time.Since(start)
						u.places[0].(*site).c.http.CloseIdleConnections()
						meets := order[0] == at && fault != "ok" // the first place is the one at fault
						record := u.Origins()[0]
						if meets && len(order) == 1 {
							if err == nil || record.URL != "" || record.Tries != 1 || !strings.Contains(strings.Join(record.Failures, "; "), says[fault]) {
								t.Errorf("%v: %+v", err, record)
							}
							return
						}
						giver, tries, failures := order[0], 1, []string(nil)
						if meets {
							giver, tries = order[1], 2
							failures = []string{url[at] + ": "}
						}
						if err != nil || record.URL != url[giver] || record.Tries != tries || record.Path != "pool/f.deb" || len(record.Failures) != len(failures) {
							t.Errorf("%v: %+v, should be of %s in %d tries", err, record, giver, tries)
						}
						for i, f := range failures {
							if !strings.HasPrefix(record.Failures[i], f) || !strings.Contains(record.Failures[i], says[fault]) {
								t.Errorf("says %q of %s", record.Failures[i], fault)
							}
						}
						want := map[string]int{giver: 1}
						if meets {
							want[at] = 1
						}
						mu.Lock()
						if !maps.Equal(asked, want) {
							t.Errorf("asked %v, should be %v", asked, want)
						}
						mu.Unlock()
						if patience := map[bool]time.Duration{true: SlowFor}[meets && fault == "stalls"]; took != patience {
							t.Errorf("took %s, should be %s", took, patience)
						}
					})
				})
			}
		}
	}
	if cells != 40 {
		t.Errorf("%d cells", cells)
	}
}

// readVerified reads a file as a snapshot does: whoever finds other bytes than were signed tells the place, and reads anew if that helps.
func readVerified(t *testing.T, u *Upstream, path string) error {
	t.Helper()
	for {
		r, err := u.Open(t.Context(), path, int64(len(body)))
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		if sha256.Sum256(got) == sha256.Sum256([]byte(body)) {
			return nil
		}
		wrong := errors.New("digest differs")
		if !r.(interface{ Distrust(error) bool }).Distrust(wrong) {
			return wrong
		}
	}
}

// A server that sends crumbs is left for the next, with what it sent; one that shares its line with many transfers has to send
// each its share only, and the last one is never left for being slow.
func TestPace(t *testing.T) {
	t.Parallel()
	s := &site{}
	for _, c := range []struct {
		name   string
		busy   int64
		bytes  int
		waited time.Duration
		slow   bool
	}{
		{"fast", 1, SlowRate * 9, SlowFor, false},
		{"just enough", 1, SlowRate * 8, SlowFor, false},
		{"too little", 1, SlowRate*8 - 1000, SlowFor, true},
		{"too little, but not for long", 1, 1, SlowFor - time.Second, false},
		{"its share of eight", 8, SlowRate, SlowFor, false},
		{"less than its share of eight", 8, SlowRate/8*8 - 1000, SlowFor, true},
		{"nothing at all", 8, 0, SlowFor, true},
	} {
		s.busy.Store(c.busy)
		p := &pace{site: s, window: SlowFor}
		if err := p.read(c.bytes, c.waited); (err != nil) != c.slow {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	p := &pace{site: s, window: SlowFor}
	s.busy.Store(1)
	if err := errors.Join(p.read(SlowRate*8, SlowFor), p.read(0, SlowFor-1)); err != nil {
		t.Error(err)
	}
	if err := p.read(1, 1); err == nil {
		t.Error("a second window is not counted")
	}
}

// One file that stalls, or one lie, does not send the other files to the next place; three in a row do.
func TestByFile(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	h := func(w http.ResponseWriter, r *http.Request) {
		place, name, _ := strings.Cut(r.URL.Path[1:], "/")
		mu.Lock()
		asked[place]++
		mu.Unlock()
		switch {
		case place == "mirror" && strings.HasPrefix(name, "stall"):
			w.Header().Set("Content-Length", itoa(len(body)))
			io.WriteString(w, body[:len(body)/2])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case place == "mirror" && strings.HasPrefix(name, "lie"):
			io.WriteString(w, strings.Repeat("x", len(body)))
		default:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
		}
	}
	for _, kind := range []string{"stall", "lie"} {
		inBubble(t, h, func(t *testing.T, o Options) {
			o.URLs, o.Record = []string{"http://archive.example.org/mirror", "http://archive.example.org/upstream"}, true
			u, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range [][2]string{
				{"a", "mirror"}, {kind + "1", "upstream"}, {"b", "mirror"}, {kind + "2", "upstream"}, {kind + "3", "upstream"}, {kind + "4", "upstream"}, {"c", "upstream"},
			} {
				if err := readVerified(t, u, step[0]); err != nil {
					t.Fatal(err)
				}
				for _, r := range u.Origins() {
					if r.Path == step[0] && !strings.HasSuffix(r.URL, "/"+step[1]) {
						t.Errorf("%s: %+v, should be of %s", kind, r, step[1])
					}
				}
			}
			u.places[0].(*site).c.http.CloseIdleConnections()
		})
	}
}
