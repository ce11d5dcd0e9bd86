package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
)

func reference(t *testing.T, r *testregistry.Registry) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(strings.TrimPrefix(r.URL, "http://") + "/site/mirror:noble")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func answers(r *Result) map[string]Answer {
	list := map[string]Answer{}
	for _, row := range r.Rows {
		list[row.Capability] = row.Answer
	}
	return list
}

// Each capability that a registry lacks makes its row a no, and no other one.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	all := testregistry.Options{Mounts: true, Referrers: true, MaxManifest: 5 << 20}
	for name, c := range map[string]struct {
		change func(*testregistry.Options)
		no     []string
		left   bool
	}{
		"all":            {func(*testregistry.Options) {}, nil, false},
		"no mounts":      {func(o *testregistry.Options) { o.Mounts = false }, []string{"mounts"}, false},
		"no referrers":   {func(o *testregistry.Options) { o.Referrers = false }, []string{"referrers"}, false},
		"no range":       {func(o *testregistry.Options) { o.NoRange = true }, []string{"range"}, false},
		"immutable tags": {func(o *testregistry.Options) { o.ImmutableTags = true }, []string{"moving tags"}, false},
		"small":          {func(o *testregistry.Options) { o.MaxManifest = 1 << 19 }, []string{"index width", "manifest size"}, false},
		"narrow":         {func(o *testregistry.Options) { o.MaxLayers = 300 }, []string{"manifest width"}, false},
		"no DELETE": {func(o *testregistry.Options) { o.NoDelete = true },
			[]string{"deleting tags", "deleting manifests", "deleting blobs"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := all
			c.change(&o)
			registry := testregistry.New(t, o)
			result, err := Run(t.Context(), reference(t, registry), &remote.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, no := range c.no {
				want[no] = true
			}
			for capability, answer := range answers(result) {
				if (answer == No) != want[capability] || answer == Unknown {
					t.Errorf("%s: %s", capability, answer)
				}
				delete(want, capability)
			}
			if len(want) > 0 {
				t.Errorf("no rows %v", want)
			}
			tags := registry.Tags("site/mirror")
			if c.left != (len(result.Left) > 0) || c.left != (len(tags) > 0) {
				t.Errorf("left %v; tags %v", result.Left, tags)
			}
		})
	}
}

// Whatever ends a probe, it removes what it pushed, and nothing else; what it cannot remove it names.
func TestInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	for n := 1; ; n += 17 {
		registry := testregistry.New(t, testregistry.Options{Mounts: true, MaxManifest: 5 << 20})
		ref := reference(t, registry)
		before, err := remote.Try(ref, &remote.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := before.PutBlob(t.Context(), oci.TypeEmpty, []byte(oci.EmptyConfig)); err != nil {
			t.Fatal(err)
		}
		m := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor(), Layers: []oci.Descriptor{oci.EmptyConfigDescriptor()}}
		if _, err := before.PutManifest(t.Context(), oci.TypeManifest, m.Encode(), "noble"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var asked atomic.Int64
		registry.Fault(func(testregistry.Request, int) testarchive.Broken {
			if asked.Add(1) == int64(n) {
				cancel()
			}
			return testarchive.Broken{}
		})
		result, err := Run(ctx, ref, &remote.Options{})
		ended := ctx.Err() != nil
		cancel()
		if ended && !errors.Is(err, context.Canceled) {
			t.Errorf("request %d: error %v", n, err)
		}
		if result == nil || len(result.Left) > 0 {
			t.Errorf("request %d: %+v", n, result)
		}
		for capability, answer := range answers(result) {
			if answer == No && capability != "referrers" {
				t.Errorf("request %d: %s: no, and that is the interruption's fault", n, capability)
			}
		}
		if tags := registry.Tags("site/mirror"); len(tags) != 1 || tags["noble"] == "" {
			t.Errorf("request %d: tags %v", n, tags)
		}
		if !ended {
			if n < 100 {
				t.Errorf("%d requests only", n)
			}
			return
		}
	}
}

// A registry that refuses midway is told of, and cleaned as far as it lets.
func TestFailsMidway(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]Answer{400: No, 403: Unknown} {
		registry := testregistry.New(t, testregistry.Options{})
		registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken {
			if r.Method == "PUT" && r.Kind == "manifest" && strings.HasPrefix(r.Ref, TagPrefix) {
				return testarchive.Broken{Status: status}
			}
			return testarchive.Broken{}
		})
		result, err := Run(t.Context(), reference(t, registry), &remote.Options{})
		if err == nil || answers(result)["index"] != want || result.Verdict() == nil || len(result.Left) > 0 {
			t.Errorf("%d: %v, %+v", status, err, result)
		}
		registry.Close()
		if result, err := Run(t.Context(), reference(t, registry), &remote.Options{}); err == nil || answers(result)["blobs"] != Unknown {
			t.Errorf("nobody listens: %v, %+v", err, result)
		}
	}
}

// From whatever request on a registry gives no answer, no row says that it cannot do something, and the verdict is not that
// it can do all. All that may be there still is named.
func TestNoAnswerFromAnyRequestOn(t *testing.T) {
	t.Parallel()
	all := testregistry.Options{Mounts: true, Referrers: true, MaxManifest: 5 << 20}
	quick := &remote.Options{Timing: remote.Timing{Backoff: time.Microsecond}}
	clean := testregistry.New(t, all)
	if result, err := Run(t.Context(), reference(t, clean), quick); err != nil || result.Verdict() != nil {
		t.Fatalf("%v, %+v", err, result)
	}
	var begin []int // what is tried: of the many requests about blobs some, of all others each
	before := testregistry.Request{}
	for i, r := range clean.Requests() {
		if r.Kind != "blob" && r.Kind != "upload" || r.Kind != before.Kind && before.Kind != "blob" && before.Kind != "upload" || r.Method == "GET" || i%97 == 0 {
			begin = append(begin, i+1)
		}
		before = r
	}
	for i, broken := range []testarchive.Broken{{Status: 401}, {Status: 403}, {Status: 429, RetryAfter: "0"}, {Status: 503}, {Reset: true}} {
		t.Run(fmt.Sprint(broken.Status), func(t *testing.T) {
			t.Parallel()
			for j, n := range begin {
				if (i+j)%4 != 0 { // the others are another failure's
					continue
				}
				registry := testregistry.New(t, all)
				var asked atomic.Int64
				registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken {
					if asked.Add(1) >= int64(n) {
						return broken
					}
					return testarchive.Broken{}
				})
				result, err := Run(t.Context(), reference(t, registry), quick)
				registry.Close()
				for _, row := range result.Rows {
					if row.Answer == No {
						t.Errorf("from request %d on: %+v", n, row)
					}
				}
				left := strings.Join(result.Left, "\n")
				if tags := registry.Tags("site/mirror"); len(tags) > 0 && !strings.Contains(left, "tag "+result.Tag) {
					t.Errorf("from request %d on: tags %v; left %v", n, tags, result.Left)
				}
				for _, d := range registry.Manifests("site/mirror") {
					if !strings.Contains(left, d) {
						t.Errorf("from request %d on: manifest %s; left %v", n, d, result.Left)
					}
				}
				if err == nil && result.Verdict() == nil && len(result.needed(Unknown)) > 0 {
					t.Errorf("from request %d on: well, with unknown %v", n, result.needed(Unknown))
				}
			}
		})
	}
}

// Where the registry deletes no blobs it is told how many its garbage collection has to take; where some went, the others are left.
func TestBlobsStay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		broken  func(n int) testarchive.Broken // of the nth DELETE of a blob
		answer  Answer
		left    string
		garbage int
		text    string
	}{
		"never":        {func(int) testarchive.Broken { return testarchive.Broken{Status: 405} }, No, "", files, "405; 97 of 100 were not tried"},
		"out of order": {func(int) testarchive.Broken { return testarchive.Broken{Status: 503} }, Unknown, "blobs 100 of 100", 0, "503; 97 of 100 were not tried"},
		"some": {func(n int) testarchive.Broken {
			if n%2 == 0 {
				return testarchive.Broken{Status: 405}
			}
			return testarchive.Broken{}
		}, No, "blobs 50 of 100", 0, "405"},
		"said to be gone": {func(int) testarchive.Broken { return testarchive.Broken{Status: 404} }, No, "", files, "there still"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := testregistry.New(t, testregistry.Options{})
			var deleted atomic.Int64
			registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken {
				if r.Method == "DELETE" && r.Kind == "blob" {
					return c.broken(int(deleted.Add(1)))
				}
				return testarchive.Broken{}
			})
			result, err := Run(t.Context(), reference(t, registry), &remote.Options{})
			if err != nil {
				t.Fatal(err)
			}
			last := result.Rows[len(result.Rows)-1]
			if last.Capability != "deleting blobs" || last.Answer != c.answer || !strings.Contains(last.Text, c.text) {
				t.Errorf("%+v", last)
			}
			if strings.Join(result.Left, ", ") != c.left || result.Garbage != c.garbage || (result.Verdict() == nil) != (c.left == "") {
				t.Errorf("left %v, garbage %d, verdict %v", result.Left, result.Garbage, result.Verdict())
			}
		})
	}
}

// A mount is asked for from the repository itself, and the row says so.
func TestMountSaysWhatWasAsked(t *testing.T) {
	t.Parallel()
	result, err := Run(t.Context(), reference(t, testregistry.New(t, testregistry.Options{Mounts: true})), &remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range result.Rows {
		if row.Capability == "mounts" && row.Text != "a mount of a blob from this repository itself is answered 201" {
			t.Errorf("%+v", row)
		}
	}
}

// A registry that fails says nothing of what it can do, and one that accepts a DELETE without doing it is found out.
func TestLies(t *testing.T) {
	t.Parallel()
	registry := testregistry.New(t, testregistry.Options{})
	tagged := 0
	registry.Fault(func(r testregistry.Request, _ int) testarchive.Broken {
		switch {
		case r.Method == "DELETE" && r.Kind == "manifest" && strings.HasPrefix(r.Ref, "sha256:"):
			return testarchive.Broken{Status: 202}
		case r.Method == "PUT" && r.Kind == "manifest" && strings.HasPrefix(r.Ref, TagPrefix):
			if tagged++; tagged > 1 {
				return testarchive.Broken{Status: 500, RetryAfter: "0"}
			}
		}
		return testarchive.Broken{}
	})
	result, err := Run(t.Context(), reference(t, registry), &remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	is := answers(result)
	if is["moving tags"] != Unknown || is["deleting tags"] != Yes || is["deleting manifests"] != No || len(result.Left) == 0 {
		t.Errorf("%+v", result)
	}
}

// The page with the matrix has each capability, whether it is needed, and what the strict registry answers.
func TestMatrix(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../artifacts/docs/registries.md")
	if err != nil {
		t.Fatal(err)
	}
	result, err := Run(t.Context(), reference(t, testregistry.New(t, testregistry.Options{})), &remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z ]+) \| (yes|no) \| .* \| (yes|no) \|$`).FindAllStringSubmatch(string(page), -1) {
		said = append(said, m[1]+" "+m[2]+" "+m[3])
	}
	var is []string
	for _, row := range result.Rows {
		needed := No
		if row.Needed {
			needed = Yes
		}
		is = append(is, row.Capability+" "+string(needed)+" "+string(row.Answer))
	}
	if !slices.Equal(said, is) {
		t.Errorf("the page says\n%s\nit is\n%s", strings.Join(said, "\n"), strings.Join(is, "\n"))
	}
}
