package images

import (
	"fmt"
	"slices"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// Two days' images under one name, of which a kept snapshot has one and another name's snapshot the other: both stay.
func TestImageNamesThatAreNeeded(t *testing.T) {
	t.Parallel()
	image := func(name, content string) snapshot.Image {
		return snapshot.Image{Name: name, Blob: snapshot.BlobOf([]byte(content))}
	}
	g := Going{
		Going: []snapshot.Image{image("a.example.org/x:1", "old"), image("b.example.org/x:1", "kept"), image("a.example.org/y:1", "y"), image("a.example.org/y:1", "y")},
		Kept:  []snapshot.Image{image("a.example.org/x:1", "kept")},
	}
	var got []string
	for _, n := range g.names() {
		got = append(got, fmt.Sprint(n.Short(), " ", n.loose))
	}
	if want := []string{"x:1 false", "y:1 true"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
