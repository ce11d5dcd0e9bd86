package imagebuild

import (
	"slices"
	"strings"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/rootfs/fixup"
)

// accountOf is the account of packages of which no script was run, and of what was made in their place.
func accountOf(notes []*rootfs.Note, fixes []*fixup.Fix, skip []imageplan.ScriptsFor) []account.Line {
	var out []account.Line
	for _, n := range notes {
		if len(n.Scripts) == 0 {
			out = append(out, account.Line{Package: n.Name(), Version: n.Version(), Script: "-", What: account.None})
		}
		for _, name := range account.Scripts {
			for _, s := range n.Scripts {
				if s.Name == name {
					what, why := notRun(s)
					if what == account.NotRun && isSkipped(n, skip) {
						what, why = account.Skipped, ""
					}
					out = append(out, account.Line{Package: n.Name(), Version: n.Version(), Script: name, What: what, Detail: why})
				}
			}
		}
	}
	for _, f := range fixes {
		out = append(out, account.Line{Package: f.Name, Version: "-", Script: "-", What: account.Made, Detail: f.Says})
	}
	return out
}

func isSkipped(n *rootfs.Note, skip []imageplan.ScriptsFor) bool {
	return slices.ContainsFunc(skip, func(s imageplan.ScriptsFor) bool { return s.Package == n.Name() && s.What == imageplan.Skip })
}

// tellLost warns of what an image lacks though its scripts made it: of file capabilities each, of the rest how many.
func (m *maker) tellLost(b *built) {
	if m.o.Dry {
		return // it is an image that was built long ago
	}
	cleaned := 0
	for _, l := range b.Account {
		switch l.What {
		case account.Capabilities:
			m.o.Log.Printf("%s: %s", b.Name, l.Detail)
		case account.Cleaned:
			cleaned++
		}
	}
	if cleaned > 0 {
		m.o.Log.Printf("%s: %d files that scripts made are left out; the account of the image names them", b.Name, cleaned)
	}
}

// notRun is what is said of a script that was not run.
func notRun(s rootfs.Script) (account.What, string) {
	switch {
	case s.Name == "prerm" || s.Name == "postrm":
		return account.Later, ""
	case s.NoOp:
		return account.NoOp, ""
	case s.Own:
		return account.NotRun, "it has code of its own"
	}
	return account.NotRun, "blocks of " + strings.Join(s.Tools, ", ")
}

// accountPart is the name of an architecture's account among the parts of a companion.
func accountPart(arch string) string { return "account-" + arch + ".txt" }
