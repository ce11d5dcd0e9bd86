package command

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"example.org/mmoci/internal/outcome"
)

// TestRemedies: every remedy has words.
func TestRemedies(t *testing.T) {
	source, err := os.ReadFile("../../../../internal/outcome/remedy.go")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`Remedy = "([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(all) != len(remedies) {
		t.Errorf("%d remedies, words for %d", len(all), len(remedies))
	}
	for _, m := range all {
		if remedies[outcome.Remedy(m[1])] == "" {
			t.Errorf("no words for %q", m[1])
		}
	}
	err = fmt.Errorf("archive x: %w", outcome.AcceptKey.For(errors.New("another key"), []string{"A", "B"}))
	if got, want := WithRemedy(err, "mmoci push"), "archive x: another key; compare it with what its owner says; --accept-key A --accept-key B takes it"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
