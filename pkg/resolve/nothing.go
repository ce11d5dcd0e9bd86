package resolve

import (
	"fmt"
	"strings"
)

// nothing tells that a root selects nothing, and what there is instead.
func (u *Universe) nothing(r *Root, h *Host) string {
	text := r.Query.String()
	where := "the archives"
	if r.Archive != "" {
		where = "archive " + r.Archive
	}
	name := r.Query.PackageName()
	if name == "" {
		return fmt.Sprintf("%s: selects nothing in %s", text, where)
	}
	var seen []string
	if h != nil {
		if v := h.Installed(name, ""); v != "" {
			seen = append(seen, v+" installed, which is not downgraded")
		}
	}
	for _, p := range u.Versions(name) {
		seen = append(seen, fmt.Sprintf("%s (%s) in %s/%s", p.Version, p.Architecture, p.Archive, p.Suite))
	}
	switch {
	case len(seen) > maxVersions:
		seen = append(seen[:maxVersions:maxVersions], fmt.Sprintf("and %d more", len(seen)-maxVersions))
		fallthrough
	case len(seen) > 0:
		return fmt.Sprintf("%s: not in %s; seen: %s", text, where, strings.Join(seen, ", "))
	}
	if near := u.near(name); len(near) > 0 {
		return fmt.Sprintf("%s: not in %s; seen: none; near: %s", text, where, strings.Join(near, ", "))
	}
	return fmt.Sprintf("%s: not in %s; seen: none", text, where)
}

// maxVersions bounds the versions listed for a root that is not there.
const maxVersions = 20
