package chaintest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
)

// damage changes one byte in the middle of each file that has the ending.
func damage(t *testing.T, dir, ending string) {
	t.Helper()
	count := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ending) {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		count++
		return os.WriteFile(name, data, 0o644)
	})
	if err != nil || count == 0 {
		t.Fatalf("%d files changed, %v", count, err)
	}
}

// TestWrongURL: a URL that gives other bytes of the right size is named and the
// next one asked; only where none is right the push is refused.
func TestWrongURL(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second string // endings of the files that the URL has wrong; "": none
		gone          string // ending of the files that the second has not
		exit          int
	}{
		{name: "pool files", first: ".deb"},
		{name: "indices", first: "Packages.xz"},
		{name: "InRelease", first: "InRelease"},
		{name: "both pool files", first: ".deb", second: ".deb", exit: 3},
		{name: "a pool file that the other has not", first: ".deb", gone: ".deb", exit: 3},
		{name: "both indices", first: "Packages.xz", second: "Packages.xz", exit: 3},
		{name: "both InRelease", first: "InRelease", second: "InRelease", exit: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := testarchive.Docker()
			suite := a.Suite(t, "bookworm")
			suite.Compressions = []string{"xz"}
			dir := t.TempDir()
			var urls []string
			for _, which := range []string{"first", "second"} {
				urls = append(urls, filepath.Join(dir, which))
				a.Build(t).Write(t, filepath.Join(dir, which))
			}
			if c.first != "" {
				damage(t, urls[0], c.first)
			}
			if c.second != "" {
				damage(t, urls[1], c.second)
			}
			if c.gone != "" {
				for name := range a.Build(t) {
					if strings.HasSuffix(name, c.gone) {
						if err := os.Remove(filepath.Join(urls[1], name)); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			key := filepath.Join(dir, "key.asc")
			if err := os.WriteFile(key, testarchive.DockerKey().Public(), 0o600); err != nil {
				t.Fatal(err)
			}
			ref, err := artifact.ParseReference("oci:" + filepath.Join(dir, "layout") + ":day")
			if err != nil {
				t.Fatal(err)
			}
			plan := &config.Plan{Archives: []config.Archive{{Prefix: "docker", Verbatim: true, URLs: urls, SignedBy: key,
				Suites: []string{"bookworm"}, Components: []string{"stable"}, Architectures: []string{"amd64"}}}}
			var mu sync.Mutex
			var log strings.Builder
			_, err = push.Run(t.Context(), push.Options{Plan: plan, Now: world.Now, Ref: ref, Log: func(f string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(&log, f+"\n", args...)
			}})
			if c.exit != 0 {
				refused(t, err, c.exit, "integrity")
				if c.second != "" && !strings.Contains(log.String()+err.Error(), urls[1]+"/") {
					t.Errorf("the second URL is not blamed: %s%v", log.String(), err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			if !strings.Contains(log.String(), urls[0]+"/") {
				t.Errorf("the URL is not blamed: %s", log.String())
			}
			trust := prove.Trust{Now: world.Now}
			trust.Upstream = world.UpstreamTrust(t).Upstream
			s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref}); err != nil {
				t.Error(err)
			}
		})
	}
}
