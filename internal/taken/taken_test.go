package taken

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/pkg/artifact"
)

// A place that failed is not asked again for the next archive out of the same snapshot: each would wait for it as long.
func TestFailedOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	from := strings.TrimPrefix(s.URL, "http://") + "/site/base:latest"
	r := &Reader{Artifact: artifact.Options{Anonymous: true}}
	_, first := r.Probe(t.Context(), freeze.Options{}, &config.Other{Prefix: "a", From: from})
	before := asked.Load()
	_, second := r.Probe(t.Context(), freeze.Options{}, &config.Other{Prefix: "b", From: from})
	if first == nil || second == nil || second.Error() != first.Error() || before == 0 || asked.Load() != before {
		t.Errorf("%v, then %v; %d requests, then %d", first, second, before, asked.Load()-before)
	}
}
