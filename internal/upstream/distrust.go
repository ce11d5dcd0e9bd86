package upstream

import (
	"cmp"
	"slices"
	"time"
)

// Elsewhere tells of a reader of Open that there are other URLs to have its file from.
func (t *transfer) Elsewhere() bool { return len(t.u.places) > 1 }

// Distrust says that a reader of Open gave other bytes than were signed. From
// then on the URL that they came from is asked after all others. True if the
// file may be right at another: opened anew, it comes from there. It is true
// at most once for each file and URL, so whoever repeats comes to an end.
func (t *transfer) Distrust(why error) bool {
	u := t.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.distrusted == nil {
		u.distrusted, u.wrong = map[int]bool{}, map[wrongFile]bool{}
	}
	this := wrongFile{t.at, t.path}
	if u.wrong[this] {
		return false
	}
	u.distrusted[t.at], u.wrong[this] = true, true
	u.log("%s: %v; asking other URLs before it", u.describe(t.at, t.path), why)
	for i := range u.places {
		if !u.wrong[wrongFile{i, t.path}] {
			return true
		}
	}
	return false
}

// wrongFile is a file that a place has in other bytes than were signed.
type wrongFile struct {
	place int
	path  string
}

// order is that in which the places are asked: last those that gave wrong
// bytes, before them those that could not be reached lately.
func (u *Upstream) order() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now().UnixNano()
	rank := func(i int) int {
		s, ok := u.places[i].(*site)
		switch {
		case u.distrusted[i]:
			return 2
		case ok && now < s.down.Load():
			return 1
		}
		return 0
	}
	order := make([]int, len(u.places))
	ranks := make([]int, len(u.places))
	for i := range order {
		order[i], ranks[i] = i, rank(i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ranks[a], ranks[b]) })
	return order
}
