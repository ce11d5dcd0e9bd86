package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// together is a package that needs all others of a set at once: it can be
// installed where these can be installed together.
const together = "mmoci-closure"

// dose is dose-debcheck, a judge that shares no code with apt.
type dose struct{ dir, arch string }

// refuses tells why the packages, each with its name, cannot all be installed
// from nothing but themselves; "" if they can.
func (d dose) refuses(slot int, packages []deb.Stanza) string {
	var wanted []string
	for _, s := range packages {
		name := s.Get("Package")
		if arch := s.Get("Architecture"); arch != "all" && arch != d.arch {
			name += ":" + arch
		}
		wanted = append(wanted, fmt.Sprintf("%s (= %s)", name, s.Get("Version")))
	}
	return d.lacks(slot, packages, wanted)
}

// lacks tells why what is wanted, relations, cannot be installed together from nothing but the packages.
func (d dose) lacks(slot int, packages []deb.Stanza, wanted []string) string {
	var index bytes.Buffer
	for _, s := range packages {
		index.Write(bytes.TrimRight(s, "\n"))
		index.WriteString("\n\n")
	}
	fmt.Fprintf(&index, "Package: %s\nVersion: 1\nArchitecture: %s\nDepends: %s\n", together, d.arch, strings.Join(wanted, ", "))
	file := filepath.Join(d.dir, fmt.Sprintf("dose%d", slot))
	if err := os.WriteFile(file, index.Bytes(), 0o644); err != nil {
		return err.Error()
	}
	defer os.Remove(file)
	out, err := exec.Command("dose-debcheck", "--deb-native-arch="+d.arch, "-e", "-f", "--checkonly="+together+":"+d.arch, file).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, lastLines(string(out)))
	}
	if !strings.Contains(string(out), "broken-packages: 0") {
		return "does not say what it found: " + lastLines(string(out))
	}
	return ""
}

// afterwards is what is on the machine when the closure is installed.
func (p *parity) afterwards(res *resolve.Result) []deb.Stanza {
	var all []deb.Stanza
	chosen := map[string]bool{}
	if res != nil {
		for _, c := range res.Packages {
			chosen[c.Name+":"+c.Architecture] = true
			chosen[c.Name+":all"] = chosen[c.Name+":all"] || c.Architecture == p.arch
			chosen[c.Name+":"+p.arch] = chosen[c.Name+":"+p.arch] || c.Architecture == "all"
			all = append(all, c.Stanza)
		}
	}
	for s, err := range deb.Stanzas(p.hostText) {
		if err != nil || chosen[s.Get("Package")+":"+s.Get("Architecture")] {
			continue
		}
		if words := strings.Fields(s.Get("Status")); len(words) == 3 && (words[2] == "installed" || words[2] == "triggers-pending") {
			all = append(all, s)
		}
	}
	return all
}
