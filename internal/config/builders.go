package config

import (
	"strconv"

	"example.org/mmoci/internal/config/document"
)

// Builders say whose builds of sources count.
type Builders struct {
	Keys    []string // public key files
	Confirm int      // how many of them have to have built the same; 0: 1
}

// maxConfirm is how many builders may have to agree.
const maxConfirm = 16

// trust reads the site's keys, one or more files, or {keys, builders, confirm}.
func (l *loader) trust(n document.Node) error {
	if !n.IsMapping() {
		return l.setFiles(&l.plan.Trust)(n)
	}
	return n.Mapping(document.Fields{
		"keys":     l.setFiles(&l.plan.Trust),
		"builders": l.setFiles(&l.plan.Builders.Keys),
		"confirm": func(n document.Node) error {
			s, err := n.Text()
			if err != nil {
				return err
			}
			count, err := strconv.Atoi(s)
			if err != nil || count < 1 || count > maxConfirm {
				return n.Errorf("%.20q; write how many builders have to agree, 1 to %d", s, maxConfirm)
			}
			l.plan.Builders.Confirm = count
			return nil
		},
	})
}
