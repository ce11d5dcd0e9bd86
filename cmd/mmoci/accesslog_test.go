package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// slowly is a writer that stands still until it is let go.
type slowly struct {
	free  chan struct{}
	calls int
	bytes.Buffer
}

func (s *slowly) Write(p []byte) (int, error) {
	<-s.free
	s.calls++
	return s.Buffer.Write(p)
}

// Every line of many writers is written, whole and in its writer's order, in few calls.
func TestLineWriter(t *testing.T) {
	t.Parallel()
	w := &slowly{free: make(chan struct{})}
	l := newLineWriter(w)
	const writers, lines = 8, 500
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range lines {
				if _, err := fmt.Fprintf(l, "%d %d\n", i, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(w.free)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("last\n")); err != nil { // somebody who was late
		t.Fatal(err)
	}
	next := map[int]int{}
	all := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
	for _, line := range all[:len(all)-1] {
		var i, n int
		if _, err := fmt.Sscanf(line, "%d %d", &i, &n); err != nil || n != next[i] {
			t.Fatalf("line %q, expected %d", line, next[i])
		}
		next[i]++
	}
	if len(all) != writers*lines+1 || all[len(all)-1] != "last" {
		t.Errorf("%d lines", len(all))
	}
	if w.calls > 10 {
		t.Errorf("%d calls", w.calls)
	}
}
