package freeze

import (
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/pkg/resolve"
)

// Newer is a package asked of one archive, of which another archive has a newer
// version that apt would choose.
type Newer struct {
	Query   string `json:"query"` // as it was asked, in canonical form
	Archive string `json:"archive"`
	Name    string `json:"name"`
	Version string `json:"version"` // what the archive gave
	In      string `json:"in"`      // the other archive
	Newer   string `json:"newer"`   // what it has
}

// Say is the remark for people; list is where packages are asked of all archives.
func (n Newer) Say(list string) string {
	return fmt.Sprintf("%s: %s %s is taken, for it is asked of %s; %s has %s, newer; %s takes it", n.Archive, n.Name, n.Version, n.Archive, n.In, n.Newer, list)
}

// newer tells which roots of one archive have a newer version in another.
func newer(u *resolve.Universe, req resolve.Request, chosen []resolve.Chosen) []Newer {
	var out []Newer
	for _, n := range u.Newer(req, chosen) {
		// Copies: a package is a view of a whole index.
		out = append(out, Newer{
			Query: n.Root.Query.String(), Archive: n.Root.Archive, Name: strings.Clone(n.Taken.Name),
			Version: strings.Clone(n.Taken.Version), In: n.Newer.Archive, Newer: strings.Clone(n.Newer.Version),
		})
	}
	slices.SortStableFunc(out, func(a, b Newer) int {
		return strings.Compare(a.Archive+" "+a.Name+" "+a.Query, b.Archive+" "+b.Name+" "+b.Query)
	})
	return slices.Compact(out)
}
