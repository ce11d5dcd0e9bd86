package place

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/pkg/artifact"
)

// tagServer answers questions for tags alone, and counts them.
func tagServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (*Source, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			asked.Add(1)
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	ref, err := artifact.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/site/mirror:day")
	if err != nil {
		t.Fatal(err)
	}
	return &Source{Ref: ref}, &asked
}

// However many ask for snapshots that are not there, the registry is asked for
// its tags once, and by nobody for some seconds; who goes away takes no answer with him.
func TestTagsAreAskedOnce(t *testing.T) {
	t.Parallel()
	const id = "20260101T000000Z-0123456789ab"
	hold := make(chan struct{})
	s, asked := tagServer(t, func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		fmt.Fprintf(w, `{"name":"site/mirror","tags":["day","day-%s"]}`, id)
	})
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, err := s.IDs(gone); first <- err }()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-first; err == nil {
		t.Error("who went away got an answer")
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i%2 == 0 {
				if _, err := s.Open(t.Context(), fmt.Sprintf("20260101T000000Z-%012d", i)); err == nil {
					t.Error("a snapshot that is not there")
				}
				return
			}
			if ids, err := s.IDs(t.Context()); err != nil || len(ids) != 1 || ids[0] != id {
				t.Errorf("%v, %v", ids, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	close(hold)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if tags, err := s.Tags(t.Context()); err != nil || len(tags) != 1 || len(tags[id]) != 1 || tags[id][0] != "day" || asked.Load() != 1 {
		t.Errorf("%v, %v", tags, err)
	}
	s.tags.mu.Lock()
	s.tags.asked = time.Now().Add(-tagsKept)
	s.tags.mu.Unlock()
	if _, err := s.IDs(t.Context()); err != nil || asked.Load() != 2 {
		t.Errorf("later: asked %d times, %v", asked.Load(), err)
	}
}

// A list of tags has an end, whatever the registry says.
func TestTagsWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, long := range map[string]int{"many": 1, "long": 100_000} {
		page := `{"name":"site/mirror","tags":["` + strings.Repeat(strings.Repeat("x", long)+`","`, 2_000_000/(long+3)) + `end"]}`
		s, asked := tagServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `</v2/site/mirror/tags/list?last=x>; rel="next"`)
			fmt.Fprint(w, page)
		})
		if _, err := s.IDs(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 100000 tags") || asked.Load() > 10 {
			t.Errorf("%s: %v after %d pages", name, err, asked.Load())
		}
	}
}
