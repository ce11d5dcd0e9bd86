package artifact

import (
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/testregistry"
)

// Each weakness of a registry is found, and nothing else is said to be wrong.
func TestProbeFindsEachWeakness(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    testregistry.Options
		want string // what is not well; "" nothing
	}{
		{"none", testregistry.Options{}, ""},
		{"no DELETE", testregistry.Options{NoDelete: true}, "delete"},
		{"immutable tags", testregistry.Options{ImmutableTags: true}, "moving tags"},
		{"no Range", testregistry.Options{NoRange: true}, "range"},
		{"few layers", testregistry.Options{MaxLayers: 128}, "layers"},
		{"small manifests", testregistry.Options{MaxManifest: 512 << 10}, "root size"},
		{"credentials", testregistry.Options{Basic: true}, "registry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := testregistry.New(t, c.o)
			ref, err := ParseReference(r.Host() + "/site/mirror:noble")
			if err != nil {
				t.Fatal(err)
			}
			found := Probe(t.Context(), ref, time.Now(), true, Options{Anonymous: true})
			for _, f := range found {
				if f.OK != (f.What != c.want) {
					t.Errorf("%s: ok %t: %s", f.What, f.OK, f.Text)
				}
				if strings.Contains(f.Text+f.Remedy, "\n") {
					t.Errorf("%s: more than a line: %q", f.What, f.Text)
				}
				if f.Text == "" || f.OK == (f.Remedy != "") {
					t.Errorf("%s: text %q, remedy %q", f.What, f.Text, f.Remedy)
				}
			}
			if c.want != "registry" && len(found) < 6 {
				t.Errorf("%d findings", len(found))
			}
			if c.o.NoDelete || c.want == "registry" {
				return
			}
			tags, err := Tags(t.Context(), ref, Options{Anonymous: true})
			if err != nil || len(tags) > 0 {
				t.Errorf("left behind: %v, %v", tags, err)
			}
		})
	}
}

// A clock that is wrong is found; without write nothing is written.
func TestProbeReadsOnly(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	ref, err := ParseReference(r.Host() + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	found := Probe(t.Context(), ref, time.Now().Add(time.Hour), false, Options{Anonymous: true})
	if len(found) != 2 || !found[0].OK || found[1].What != "clock" || found[1].OK {
		t.Errorf("found %+v", found)
	}
	if log := r.Requests(); log.Count("PUT", "")+log.Count("POST", "")+log.Count("DELETE", "") > 0 {
		t.Errorf("wrote: %v", log)
	}
}
