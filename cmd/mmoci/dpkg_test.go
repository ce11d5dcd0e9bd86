package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// fakeDpkg is as much of dpkg as install needs, strict about what the real one
// is strict about: a Pre-Depends must be configured before its package is
// unpacked, Depends before or together with it when it is configured, and it
// must not be asked to configure what is configured. It logs its calls to
// dpkg.log in HOME, and fails for the package that DPKG_FAIL names.
func fakeDpkg() {
	d := &dpkgState{}
	var names []string
	action := ""
	for _, arg := range os.Args[1:] {
		switch {
		case strings.HasPrefix(arg, "--root="):
			d.root = strings.TrimPrefix(arg, "--root=")
		case arg == "--print-architecture":
			fmt.Println("amd64")
			return
		case arg == "--unpack", arg == "--configure", arg == "--set-selections":
			action = arg
		case !strings.HasPrefix(arg, "-"):
			names = append(names, arg)
		}
	}
	d.read()
	d.must(os.RemoveAll(filepath.Join(d.root, "var/lib/dpkg/updates"))) // its journal, taken over
	for _, name := range names {
		if action == "--unpack" {
			d.unpack(name)
		}
	}
	if action == "--configure" {
		d.configure(names)
	}
	var short []string
	for _, n := range names {
		short = append(short, filepath.Base(n))
	}
	d.log(action + " " + strings.Join(short, " "))
}

type dpkgState struct {
	root  string
	known []*dpkgPackage
}

type dpkgPackage struct {
	name, word, depends string
	control             string // without Status
}

func (d *dpkgState) file() string { return filepath.Join(d.root, "var/lib/dpkg/status") }

func (d *dpkgState) log(line string) {
	f, err := os.OpenFile(filepath.Join(os.Getenv("HOME"), "dpkg.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	d.must(err)
	_, err = fmt.Fprintln(f, line)
	d.must(err)
	d.must(f.Close())
}

func (d *dpkgState) die(format string, args ...any) {
	d.write()
	fmt.Fprintf(os.Stderr, "dpkg: error: "+format+"\n", args...)
	os.Exit(1)
}

func (d *dpkgState) must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "dpkg:", err)
		os.Exit(2)
	}
}

func (d *dpkgState) read() {
	data, err := os.ReadFile(d.file())
	d.must(err)
	for s, err := range deb.Stanzas(data) {
		d.must(err)
		words := strings.Fields(s.Get("Status"))
		var control strings.Builder
		for line := range strings.Lines(string(s)) {
			if !strings.HasPrefix(line, "Status:") && line != "\n" {
				control.WriteString(line)
			}
		}
		d.known = append(d.known, &dpkgPackage{s.Get("Package"), words[2], s.Get("Depends"), control.String()})
	}
}

func (d *dpkgState) write() {
	var b strings.Builder
	for _, k := range d.known {
		fmt.Fprintf(&b, "%sStatus: install ok %s\n\n", k.control, k.word)
	}
	d.must(os.WriteFile(d.file(), []byte(b.String()), 0o644))
}

func (d *dpkgState) find(name string) *dpkgPackage {
	i := slices.IndexFunc(d.known, func(k *dpkgPackage) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return d.known[i]
}

// met tells whether a relation field is satisfied by packages in one of the states.
func (d *dpkgState) met(field string, states ...string) bool {
	clauses, err := deb.ParseRelations(field, "amd64")
	d.must(err)
	for _, alternatives := range clauses {
		if !slices.ContainsFunc(alternatives, func(r deb.Relation) bool {
			k := d.find(r.Name)
			return k != nil && slices.Contains(states, k.word)
		}) {
			return false
		}
	}
	return true
}

func (d *dpkgState) unpack(file string) {
	f, err := os.Open(file)
	d.must(err)
	defer f.Close()
	read, err := deb.ReadDeb(f)
	d.must(err)
	name := read.Control.Get("Package")
	if !d.met(read.Control.Get("Pre-Depends"), "installed") {
		d.die("pre-dependency problem - not installing %s", name)
	}
	k := &dpkgPackage{name, "unpacked", read.Control.Get("Depends"), strings.TrimRight(string(read.Control), "\n") + "\n"}
	if was := d.find(name); was != nil {
		*was = *k
	} else {
		d.known = append(d.known, k)
	}
	fmt.Printf("Unpacking %s ...\n", name)
	d.write()
}

func (d *dpkgState) configure(specs []string) {
	for _, spec := range specs {
		name, _, _ := strings.Cut(spec, ":")
		k := d.find(name)
		switch {
		case k == nil || k.word == "installed":
			d.die("package %s is already installed and configured, or not there", name)
		case os.Getenv("DPKG_FAIL") == name:
			k.word = "half-configured"
			d.die("installed %s package post-installation script subprocess returned error exit status 1", name)
		case !d.met(k.depends, "installed", "unpacked"):
			d.die("dependency problems prevent configuration of %s", name)
		}
		fmt.Printf("Setting up %s ...\n", name)
		k.word = "installed"
	}
	d.write()
}
