//go:build real

package buildenv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.org/mmoci/internal/builddeps"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// upstream is what scripts/real-sources.sh laid out.
func upstream(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("MMOCI_REAL_UPSTREAM")
	if dir == "" {
		t.Fatal("MMOCI_REAL_UPSTREAM names no upstream that scripts/real-sources.sh laid out")
	}
	return dir
}

// index reads an index of the upstream, by its path without the ending.
func index(t *testing.T, path string) []byte {
	t.Helper()
	found, err := filepath.Glob(path + ".*")
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: no such index", path)
	}
	stored, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	data, err := archive.Decompress(found[0], stored, archive.MaxIndex)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// archiveOf has the real indices of all suites, without pool files.
func archiveOf(t *testing.T, dir string) (*Archive, []deb.Stanza) {
	t.Helper()
	a := &Archive{o: Options{Architecture: "amd64"}}
	suites, err := filepath.Glob(filepath.Join(dir, "*", "dists", "*"))
	if err != nil || len(suites) == 0 {
		t.Fatalf("%s: no suites", dir)
	}
	var sources []deb.Stanza
	for _, s := range suites {
		main := filepath.Join(s, "main")
		prefix := filepath.Base(filepath.Dir(filepath.Dir(s)))
		a.packages = append(a.packages, resolve.Index{Archive: prefix, Suite: filepath.Base(s), Component: "main", Architecture: "amd64", Path: s, Data: index(t, main+"/binary-amd64/Packages")})
		for st, err := range deb.Stanzas(index(t, main+"/source/Sources")) {
			if err == nil {
				sources = append(sources, st)
			}
		}
	}
	return a, sources
}

// drawn are sources of an archive, the same ones for a seed as long as the archive has them.
func drawn(t *testing.T, sources []deb.Stanza, n int) []deb.Stanza {
	t.Helper()
	seed := uint64(20261129)
	if s := os.Getenv("E2E_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	newest := map[string]deb.Stanza{}
	for _, st := range sources {
		name := st.Get("Package")
		if had := newest[name]; had == nil || deb.Compare(st.Get("Version"), had.Get("Version")) > 0 {
			newest[name] = st
		}
	}
	var names []string
	for name, st := range newest {
		if arch := st.Get("Architecture"); strings.Contains(" "+arch+" ", "any") || strings.Contains(arch, "amd64") || strings.Contains(arch, "all") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(seed, 0))
	var out []deb.Stanza
	for _, i := range r.Perm(len(names))[:n] {
		out = append(out, newest[names[i]])
	}
	return out
}

// TestAsApt compares environments of drawn sources with what apt-get build-dep installs on a machine
// that has what every build has, and dpkg-checkbuilddeps finds nothing missing in them.
func TestAsApt(t *testing.T) {
	dir := upstream(t)
	a, sources := archiveOf(t, dir)
	base := strings.Fields(string(read(t, filepath.Join(dir, ".apt/build/base.txt"))))
	n, err := strconv.Atoi(os.Getenv("MMOCI_REAL_DRAWN"))
	if err != nil {
		n = 20
	}
	equal, impossible := 0, 0
	for _, st := range drawn(t, sources, n) {
		name, version := st.Get("Package"), st.Get("Version")
		src := &Source{Name: name, Version: version, Stanza: st}
		cmd := exec.Command("apt-get", "-q", "-s", "--no-install-recommends", "build-dep", name+"="+version)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(dir, ".apt/src.conf"))
		said, aptErr := cmd.CombinedOutput()
		e, err := a.Environment(t.Context(), src, builddeps.Needs{Alternatives: true})
		if aptErr != nil || err != nil {
			if (aptErr == nil) != (err == nil) {
				t.Errorf("%s %s: apt: %v, here: %v\n%s", name, version, aptErr, err, said)
			}
			impossible++
			continue
		}
		want := slices.Clone(base)
		for line := range strings.Lines(string(said)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "Inst" {
				want = append(want, strings.TrimSuffix(f[1], ":amd64")+"="+strings.Trim(f[2], "()"))
			}
		}
		var got []string
		for line := range strings.Lines(string(e.Text())) {
			f := strings.Fields(line)
			got = append(got, f[0]+"="+f[1])
		}
		slices.Sort(want)
		slices.Sort(got)
		if slices.Equal(want, got) {
			equal++
		} else {
			t.Errorf("%s %s:\n apt alone: %v\n here alone: %v", name, version, without(want, got), without(got, want))
		}
		checkBuildDeps(t, src, e)
		first, err := a.Environment(t.Context(), src, builddeps.Needs{})
		if err != nil {
			t.Logf("%s %s: not by first alternatives: %v", name, version, err)
			continue
		}
		checkBuildDeps(t, src, first)
	}
	t.Logf("%d of %d environments are apt's, %d sources can be built by neither", equal, n, impossible)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func without(a, b []string) (out []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// checkBuildDeps asks dpkg-checkbuilddeps whether an environment has all; and, with one package less
// that the source names, whether it says so.
func checkBuildDeps(t *testing.T, src *Source, e *Environment) {
	t.Helper()
	dir := t.TempDir()
	var control bytes.Buffer
	fmt.Fprintf(&control, "Source: %s\nMaintainer: x <x@example.org>\n", src.Name)
	named := ""
	for _, f := range []string{"Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep", "Build-Conflicts", "Build-Conflicts-Arch", "Build-Conflicts-Indep"} {
		if v := src.Stanza.Get(f); v != "" {
			fmt.Fprintf(&control, "%s: %s\n", f, strings.ReplaceAll(v, "\n", " "))
		}
	}
	fmt.Fprintf(&control, "\nPackage: %s\nArchitecture: any\nDescription: x\n", src.Name)
	if err := os.WriteFile(filepath.Join(dir, "control"), control.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	status := func(leave string) {
		var b bytes.Buffer
		for _, p := range slices.Concat(e.packages...) {
			if p.Name == leave {
				continue
			}
			b.WriteString("Status: install ok installed\n")
			b.Write(bytes.TrimRight(p.Stanza, "\n"))
			b.WriteString("\n\n")
		}
		if err := os.WriteFile(filepath.Join(dir, "status"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func() ([]byte, error) {
		return exec.Command("dpkg-checkbuilddeps", "--admindir="+dir, filepath.Join(dir, "control")).CombinedOutput()
	}
	status("")
	if said, err := check(); err != nil {
		t.Errorf("%s: dpkg-checkbuilddeps: %v: %s", src.Name, err, said)
	}
	r, err := builddeps.Needs{}.Of(src.Stanza, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, alternatives := range r.Depends {
		if slices.ContainsFunc(slices.Concat(e.packages...), func(p *resolve.Package) bool { return p.Name == alternatives[0].Name }) && len(alternatives) == 1 {
			named = alternatives[0].Name
		}
	}
	if named == "" {
		return
	}
	status(named)
	if said, err := check(); err == nil {
		t.Logf("%s: dpkg-checkbuilddeps does not miss %s, which another package provides: %s", src.Name, named, said)
	}
}
