package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// spots are places of one blob that behave in named ways, the last one being
// the origin.
func spots(data []byte, log Log, kinds ...string) *places {
	p := &places{log: log, rate: slowRate, window: slowWindow}
	for i, kind := range kinds {
		s := &spot{ref: artifact.Reference{Name: fmt.Sprintf("%d-%s", i, kind)}}
		s.blobs = snapshot.BlobsFunc(func(ctx context.Context, b snapshot.Blob) (*snapshot.Content, error) {
			spoilt := bytes.Clone(data)
			switch kind {
			case "lacks":
				return nil, fmt.Errorf("blob: %w", snapshot.ErrNotExist)
			case "down":
				return nil, errors.New("connection refused")
			case "flipped":
				spoilt[len(spoilt)/2] ^= 1
			case "short":
				return &snapshot.Content{R: io.NopCloser(bytes.NewReader(spoilt[:len(spoilt)/3]))}, nil
			case "breaks":
				r := io.MultiReader(bytes.NewReader(spoilt[:len(spoilt)/2]), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
				return &snapshot.Content{R: io.NopCloser(r)}, nil
			case "flipped and breaks":
				spoilt[0] ^= 1
				r := io.MultiReader(bytes.NewReader(spoilt[:len(spoilt)/2]), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
				return &snapshot.Content{R: io.NopCloser(r)}, nil
			case "hangs":
				return &snapshot.Content{R: io.NopCloser(readerFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() }))}, nil
			case "trickles":
				rest := bytes.NewReader(spoilt)
				return &snapshot.Content{R: io.NopCloser(readerFunc(func(p []byte) (int, error) {
					time.Sleep(time.Second)
					return rest.Read(p[:1])
				}))}, nil
			case "connects never":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &snapshot.Content{R: io.NopCloser(bytes.NewReader(spoilt))}, nil
		})
		p.list = append(p.list, s)
	}
	return p
}

// TestPlaces reads through every order of three kinds of bad places before a
// good origin: what comes is right, and each that was bad is named.
func TestPlaces(t *testing.T) {
	t.Parallel()
	data := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{}).Read(data)
	blob := snapshot.BlobOf(data)
	bad := []string{"lacks", "down", "flipped", "short", "breaks", "flipped and breaks", "hangs", "trickles", "connects never"}
	for _, a := range bad {
		for _, b := range bad {
			t.Run(a+", "+b, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					var said []string
					p := spots(data, func(f string, args ...any) {
						mu.Lock()
						defer mu.Unlock()
						said = append(said, fmt.Sprintf(f, args...))
					}, a, b, "good")
					s := (&snapshot.Snapshot{}).WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return p })
					c := &chain{s: s}
					for range 2 {
						got, err := c.readBlob(t.Context(), blob, blob.Size)
						if err != nil {
							t.Fatalf("%v; said: %q", err, said)
						}
						if !bytes.Equal(got, data) {
							t.Fatal("other bytes")
						}
					}
					for i, kind := range []string{a, b} {
						// What breaks is left for the next, which may be the one that completes it.
						name := fmt.Sprintf("%d-%s", i, kind)
						if !slices.ContainsFunc(said, func(l string) bool { return strings.Contains(l, name) }) {
							t.Errorf("%s is not named: %q", name, said)
						}
					}
				})
			})
		}
	}
}

// TestPlacesEnd: where the last place is wrong too, it ends in an error, after
// each was asked.
func TestPlacesEnd(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("x"), 200_000)
	for _, kinds := range [][]string{{"flipped"}, {"flipped", "flipped"}, {"breaks", "flipped"}, {"flipped and breaks", "flipped and breaks", "flipped"}, {"down", "down"}, {"lacks", "lacks"}} {
		s := (&snapshot.Snapshot{}).WithBlobs(func(snapshot.Blobs) snapshot.Blobs { return spots(data, nil, kinds...) })
		c := &chain{s: s}
		_, err := c.readBlob(t.Context(), snapshot.BlobOf(data), 1<<20)
		if err == nil || errors.Is(err, errElsewhere) {
			t.Errorf("%q: %v", kinds, err)
		}
		if last := kinds[len(kinds)-1]; last == "flipped" && !errors.Is(err, ErrIntegrity) {
			t.Errorf("%q: %v is no integrity failure", kinds, err)
		}
	}
}

// TestOpenAnywhere: the tag is resolved at the origin only, a stale mirror and
// a corrupt one are skipped and named, blobs come from the mirror that has them.
func TestOpenAnywhere(t *testing.T) {
	t.Parallel()
	now, old := freeze(t, goodUpstreams()), freeze(t, older(t))
	repo := func(s *snapshot.Snapshot) (*testarchive.Registry, artifact.Reference) {
		r := testarchive.NewRegistry(t, testarchive.RegistryOptions{})
		ref, err := artifact.ParseReference(r.Host() + "/site:noble")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Push(t.Context(), ref, s, artifact.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		return r, ref
	}
	_, stale := repo(old)
	corrupt, corruptRef := repo(now)
	for r := range now.Table.Rows() {
		if strings.HasSuffix(r.Path, ".deb") {
			corrupt.FlipBlob(t, "site", r.Digest.String())
		}
	}
	mirror, mirrorRef := repo(now)
	origin, ref := repo(now)
	mirror.Requests() // of the pushes
	origin.Requests()
	var mu sync.Mutex
	var said strings.Builder
	log := func(f string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&said, f+"\n", args...)
	}
	sealed, err := OpenAnywhere(t.Context(), ref, []artifact.Reference{stale, corruptRef, mirrorRef}, artifact.Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	trust := siteTrust(t)
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Extract(t.Context(), Extracting{Snapshot: s, Trust: trust, Queries: []string{"docker-ce"}, Dir: memoryDir(t), Architecture: "amd64"})
	if err != nil || len(res.Groups) == 0 {
		t.Fatal(err)
	}
	for _, r := range []artifact.Reference{stale, corruptRef} {
		if !strings.Contains(said.String(), "mirror "+r.Name+" is skipped") {
			t.Errorf("%s is not named in:\n%s", r.Name, &said)
		}
	}
	asked := mirror.Requests()
	for _, r := range asked {
		if r.Ref == "noble" {
			t.Errorf("a mirror was asked for the tag: %v", r)
		}
	}
	if asked.Count("GET", "blob") == 0 {
		t.Error("the good mirror was not asked for a blob")
	}
	if got := origin.Requests(); len(got) != 1 || got[0].Method != "HEAD" {
		t.Errorf("the origin was asked more than the tag: %v", got)
	}
}
