package place

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

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// spots are places of one blob that behave in named ways, the last one being
// the origin.
func spots(data []byte, log outcome.Log, kinds ...string) *places {
	p := &places{log: log, rate: slowRate, window: slowWindow}
	for i, kind := range kinds {
		s := &mirror{ref: artifact.Reference{Name: fmt.Sprintf("%d-%s", i, kind)}}
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
				r := io.MultiReader(bytes.NewReader(spoilt[:len(spoilt)/2]), readFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
				return &snapshot.Content{R: io.NopCloser(r)}, nil
			case "flipped and breaks":
				spoilt[0] ^= 1
				r := io.MultiReader(bytes.NewReader(spoilt[:len(spoilt)/2]), readFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
				return &snapshot.Content{R: io.NopCloser(r)}, nil
			case "hangs":
				return &snapshot.Content{R: io.NopCloser(readFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() }))}, nil
			case "trickles":
				rest := bytes.NewReader(spoilt)
				return &snapshot.Content{R: io.NopCloser(readFunc(func(p []byte) (int, error) {
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

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

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
					for range 2 {
						got, err := s.ReadBlob(t.Context(), blob, 1<<20)
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
		_, err := s.ReadBlob(t.Context(), snapshot.BlobOf(data), 1<<20)
		if err == nil {
			t.Errorf("%q: %v", kinds, err)
		}
		if last := kinds[len(kinds)-1]; last == "flipped" && !errors.Is(err, outcome.ErrIntegrity) {
			t.Errorf("%q: %v is no integrity failure", kinds, err)
		}
	}
}

// seeker is a blob that can be read from any offset, breaks off at another, and counts what is read.
type seeker struct {
	*bytes.Reader
	from       []int64
	read, fail int64 // fail 0: nowhere
}

func (a *seeker) Seek(offset int64, whence int) (int64, error) {
	a.from = append(a.from, offset)
	return a.Reader.Seek(offset, whence)
}

func (a *seeker) Read(p []byte) (int, error) {
	if at := a.Size() - int64(a.Len()); a.fail > 0 {
		if at >= a.fail {
			return 0, errors.New("the cable was pulled")
		}
		p = p[:min(int64(len(p)), a.fail-at)]
	}
	n, err := a.Reader.Read(p)
	a.read += int64(n)
	return n, err
}

func (a *seeker) Close() error { return nil }

// TestPlacesFromOffset: the rest of a blob is asked of a mirror, and of the next one where that breaks.
func TestPlacesFromOffset(t *testing.T) {
	t.Parallel()
	data := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{}).Read(data)
	blob := snapshot.BlobOf(data)
	var got [2]*seeker
	at := func(i int, fail int64) *mirror {
		return &mirror{ref: artifact.Reference{Name: fmt.Sprint("place", i)}, blobs: snapshot.BlobsFunc(func(context.Context, snapshot.Blob) (*snapshot.Content, error) {
			got[i] = &seeker{Reader: bytes.NewReader(data), fail: fail}
			return &snapshot.Content{R: got[i]}, nil
		})}
	}
	p := &places{rate: slowRate, window: slowWindow, list: []*mirror{at(0, 150_000), at(1, 0)}}
	c, err := p.Open(t.Context(), blob, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	defer c.R.Close()
	if rest, err := io.ReadAll(c.R); err != nil || !bytes.Equal(rest, data[100_000:]) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	if a, b := fmt.Sprint(got[0].from, got[0].read), fmt.Sprint(got[1].from, got[1].read); a != "[100000] 50000" || b != "[150000] 150000" {
		t.Errorf("first %s, second %s", a, b)
	}
}
