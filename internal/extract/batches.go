package extract

import (
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// Batches joins the groups of [Selection.Groups] to as few calls of dpkg as
// Pre-Depends allow: what a package Pre-Depends on was configured by an earlier
// call. Each call unpacks its packages in order and then configures them, so a
// plain dependency may be in the same one.
func (s *Selection) Batches() [][]*resolve.Package {
	var out [][]*resolve.Package
	fresh := map[string]bool{} // names that the batch under construction gives
	for _, group := range s.Groups() {
		for _, p := range group {
			if len(out) == 0 || preDependsOn(p, fresh) {
				out, fresh = append(out, nil), map[string]bool{}
			}
			out[len(out)-1] = append(out[len(out)-1], p)
			for _, name := range gives(p) {
				fresh[name] = true
			}
		}
	}
	return out
}

// preDependsOn tells whether anything in Pre-Depends may be met by one of the
// names. Too often a yes costs a call of dpkg, a wrong no would make it fail.
func preDependsOn(p *resolve.Package, names map[string]bool) bool {
	for _, name := range related(p, "Pre-Depends") {
		if names[name] {
			return true
		}
	}
	return false
}

// gives are the names that a package can meet a relation by.
func gives(p *resolve.Package) []string { return append(related(p, "Provides"), p.Name) }

// related are the names in a relation field; none of one that cannot be read,
// which the resolver does not choose.
func related(p *resolve.Package, field string) []string {
	clauses, err := deb.ParseRelations(p.Stanza.Get(field), p.Architecture)
	if err != nil {
		return nil
	}
	var out []string
	for _, alternatives := range clauses {
		for _, r := range alternatives {
			out = append(out, r.Name)
		}
	}
	return out
}
