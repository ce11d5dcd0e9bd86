//go:build real

package merge

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// The same worlds, and dpkg says which version is higher.
func TestLawsByDpkg(t *testing.T) {
	known := map[[2]string]int{}
	compare := func(a, b string) int {
		pair := [2]string{a, b}
		if order, ok := known[pair]; ok {
			return order
		}
		order := 0
		for word, is := range map[string]int{"lt": -1, "gt": 1} {
			err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", a, word, b).Run()
			if _, no := errors.AsType[*exec.ExitError](err); err != nil && !no {
				t.Fatal(err)
			} else if err == nil {
				order = is
			}
		}
		known[pair] = order
		return order
	}
	refusals := 0
	for seed := range 3000 {
		items := world(rand.New(rand.NewPCG(uint64(seed), 18)))
		highest, refused := expect(items, compare)
		got, err := merged(t, items)
		if _, conflict := errors.AsType[*ConflictError](err); conflict != refused || err != nil && !conflict {
			t.Fatalf("world %d: refused %v, want %v: %v", seed, conflict, refused, err)
		}
		if err != nil {
			refusals++
			continue
		}
		if check(t, seed, got, items, highest); t.Failed() {
			return
		}
	}
	if len(known) < 100 || refusals == 0 {
		t.Errorf("dpkg compared %d pairs, %d worlds were refused", len(known), refusals)
	}
}
