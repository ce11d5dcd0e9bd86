package stack

import (
	"strings"

	"example.org/mmoci/pkg/deb"
)

// MergedUsr tells from the packages of an image whether its /usr is merged, and
// by what. usr-is-merged or usrmerge among them say yes; else base-files, since
// version 12 (Debian 12, Ubuntu 22.04) of suites that are merged; else libc6,
// since 2.34 of the same ones. Packages with none of them are taken for newer ones.
func MergedUsr(stanzas []deb.Stanza) (yes bool, reason string) {
	version := map[string]string{}
	for _, s := range stanzas {
		version[s.Get("Package")] = strings.Clone(s.Get("Version"))
	}
	for _, name := range []string{"usr-is-merged", "usrmerge"} {
		if version[name] != "" {
			return true, name + " is among the packages"
		}
	}
	for _, m := range []struct{ name, since string }{{"base-files", "12"}, {"libc6", "2.34"}} {
		if v := version[m.name]; v != "" {
			return deb.Compare(v, m.since) >= 0, m.name + " has version " + v
		}
	}
	return true, "no package says otherwise"
}
