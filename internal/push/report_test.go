package push

import (
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/listed"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/snapshot"
)

// A file of a list came from a mirror if the place that gave it is one of its mirrors, and not one whose address begins alike.
func TestOfList(t *testing.T) {
	t.Parallel()
	d := snapshot.Sum([]byte("x"))
	o := Options{Plan: &config.Plan{Archives: []config.Archive{{Prefix: "p-urls", Mirrors: []string{"http://m.example.org/mirror/f.deb", "http://u:p@m.example.org/c%2b%2b/f.deb", "http://n.example.org/f.deb"}}}}}
	for url, want := range map[string]string{
		"http://m.example.org/mirror": fetchreport.Mirror, "http://m.example.org/mir": fetchreport.Upstream, "http://u.example.org/mirror": fetchreport.Upstream,
		"http://m.example.org/c++": fetchreport.Mirror, "http://n.example.org": fetchreport.Mirror, "http://m.example.org": fetchreport.Upstream,
	} {
		e := fetchreport.File{Archive: "p-urls", Digest: d.String(), Kind: fetchreport.Own}
		o.ofList(&e, &listed.Result{Files: []listed.Fetched{{Digest: d, Origin: upstream.Origin{URL: url, Tries: 1}}}})
		if e.Kind != want || e.From != url || e.Tries != 1 {
			t.Errorf("%s: %+v, want %s", url, e, want)
		}
	}
}
