package site

import (
	"errors"
	"testing"

	"example.org/mmoci/internal/outcome"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	bind := Listed{Name: "bind9-libs", Version: "1:9.18.33-1~deb12u2", Architecture: "amd64", Source: "bind9"}
	own := Listed{Name: "adduser", Version: "3.134", Architecture: "all"}
	image := Listed{Name: "registry.example.org/site/pause", Version: "3.10", Image: true}
	for _, c := range []struct {
		q    Search
		want [3]bool
	}{
		{Search{}, [3]bool{true, true, true}},
		{Search{Name: "bind9*"}, [3]bool{true, false, false}},
		{Search{Name: "*pause"}, [3]bool{false, false, true}},
		{Search{Version: "1:9.*~deb12*"}, [3]bool{true, false, false}},
		{Search{Architecture: "a*"}, [3]bool{true, true, false}},
		{Search{Source: "bind?"}, [3]bool{true, false, false}},
		{Search{Source: "adduser"}, [3]bool{false, true, false}},
		{Search{Name: "*", Architecture: "all"}, [3]bool{false, true, false}},
		{Search{Name: "bind9"}, [3]bool{false, false, false}},
		{Search{Name: "[ab]*"}, [3]bool{true, true, false}},
	} {
		for i, l := range []Listed{bind, own, image} {
			if c.q.Takes(l) != c.want[i] {
				t.Errorf("%+v takes %s: %v", c.q, l.Name, !c.want[i])
			}
		}
		if err := c.q.Check(); err != nil || c.q.Any() != (c.q != Search{}) {
			t.Error(c.q, err)
		}
	}
	if err := (Search{Version: "[1-"}).Check(); !errors.Is(err, outcome.ErrUsage) {
		t.Error(err)
	}
}
