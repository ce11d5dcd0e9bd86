package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// controlFiles is what control.tar has beside the control file.
type controlFiles struct {
	files     []deb.ControlFile // what goes to var/lib/dpkg/info, by name
	modTime   int64             // of the control file: the time of all that the recipe makes
	hasSums   bool
	conffiles []Conffile
	conffile  map[string]int // index in conffiles plus one, by path
	scripts   []Script
	triggers  []Trigger
}

// scriptNames are the maintainer scripts, in the order in which a note has them.
var scriptNames = []string{"preinst", "postinst", "prerm", "postrm", "config"}

// InfoDir is where dpkg has the files of each package.
const InfoDir = "var/lib/dpkg/info"

func readControlFiles(c deb.Contents) (controlFiles, error) {
	f := controlFiles{conffile: map[string]int{}}
	for _, file := range c.Files {
		switch file.Name {
		case "control":
			f.modTime = min(file.ModTime, maxNumber)
			continue
		case "list": // dpkg warns, and leaves it out (pkg_infodb_update)
			continue
		case "md5sums":
			f.hasSums = true
		case "conffiles":
			if err := f.readConffiles(file.Data); err != nil {
				return f, err
			}
		case "triggers":
			if err := f.readTriggers(file.Data); err != nil {
				return f, err
			}
		}
		if !validInfo(file.Name) {
			return f, faulty("control.tar: file %.100q, which dpkg's database cannot hold", file.Name)
		}
		f.files = append(f.files, file)
	}
	slices.SortFunc(f.files, func(a, b deb.ControlFile) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range scriptNames {
		for _, file := range f.files {
			if file.Name == name {
				f.scripts = append(f.scripts, readScript(name, file.Data))
			}
		}
	}
	return f, nil
}

// validInfo tells whether a file of control.tar may become one of dpkg's info files.
func validInfo(name string) bool {
	if len(name) > 50 { // dpkg, MAXCONTROLFILENAME less
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || i > 0 && strings.IndexByte("-_.+", c) >= 0) {
			return false
		}
	}
	return name != ""
}

// readConffiles reads the package's list of conffiles as dpkg does
// (deb_parse_conffiles): a path on each line, perhaps behind a flag.
func (f *controlFiles) readConffiles(data []byte) error {
	for line := range strings.SplitSeq(string(data), "\n") {
		line = strings.TrimRight(line, " \t\r\v\f")
		if line == "" {
			continue
		}
		var c Conffile
		if rest, ok := strings.CutPrefix(line, "remove-on-upgrade "); ok {
			c.RemoveOnUpgrade, line = true, strings.TrimLeft(rest, " \t")
		}
		if line[0] != '/' {
			return faulty("conffiles: %.200q is no absolute path", line)
		}
		p, err := cleanPath(line)
		if err != nil || p == "." {
			return faulty("conffiles: %.200q is no plain path", line)
		}
		if f.conffile[p] != 0 {
			return faulty("conffiles: %q twice", p)
		}
		c.Path = p
		f.conffiles = append(f.conffiles, c)
		f.conffile[p] = len(f.conffiles)
		if len(f.conffiles) > MaxEntries {
			return faulty("conffiles: over %d lines", MaxEntries)
		}
	}
	return nil
}

// readTriggers reads the package's triggers file (deb-triggers(5)).
func (f *controlFiles) readTriggers(data []byte) error {
	for line := range strings.SplitSeq(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || !triggerDirective(words[0]) || !validTrigger(words[1]) {
			return faulty("triggers: line %.200q", line)
		}
		f.triggers = append(f.triggers, Trigger{words[0], words[1]})
	}
	return nil
}

func triggerDirective(s string) bool {
	base, kind, ok := strings.Cut(s, "-")
	return (base == "interest" || base == "activate") && (!ok || kind == "await" || kind == "noawait")
}

// validTrigger tells whether a trigger may have that name: printable ASCII
// without blanks (dpkg, trig_name_is_illegal).
func validTrigger(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	if s == "" {
		return false
	}
	if s[0] == '/' {
		_, err := cleanPath(s)
		return err == nil
	}
	return !strings.Contains(s, "/") && s[0] != '.' && !slices.Contains([]string{"File", "Lock", "Unincorp"}, s) // dpkg's own files beside them
}

// readScript notes a maintainer script.
func readScript(name string, text []byte) Script {
	s := Script{Name: name, Digest: snapshot.Sum(text), Size: int64(len(text))}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if tool, ok := strings.CutPrefix(line, "# Automatically added by "); ok {
			inside = true
			tool, _, _ = strings.Cut(tool, "/")
			tool, _, _ = strings.Cut(tool, " ")
			if !slices.Contains(s.Tools, tool) && isTool(tool) {
				s.Tools = append(s.Tools, tool)
			}
			continue
		}
		switch {
		case line == "# End automatically added section":
			inside = false
		case inside, line == "", line == "set -e", line == "exit 0":
		case i == 0 && (line == "#!/bin/sh" || line == "#! /bin/sh" || line == "#!/bin/sh -e" || line == "#!/bin/bash"):
		case line[0] == '#' && i > 0:
		default:
			s.Own = true
		}
	}
	if s.NoOp = account.IsNoOp(name, text); s.NoOp {
		s.Own = false
	}
	return s
}

// isTool tells names of programs that write parts of scripts: others are no more than a comment.
func isTool(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// database lays out what dpkg itself would write for the package: its info files
// and, as a file of its own, its stanza in the status.
func (l *layer) database() error {
	c := &l.control
	l.note.Conffiles, l.note.Scripts, l.note.Triggers = c.conffiles, c.scripts, c.triggers
	status, err := StatusStanza(l.note.Stanza, c.conffiles)
	if err != nil {
		return err
	}
	l.note.Status = status
	files := slices.Clone(c.files)
	files = append(files, deb.ControlFile{Name: "list", Mode: 0o644, Data: l.note.List(nil)})
	if !c.hasSums && l.sums.Len() > 0 {
		l.note.Sums = l.sums.Bytes()
		files = append(files, deb.ControlFile{Name: "md5sums", Mode: 0o644, Data: l.note.Sums})
	}
	slices.SortFunc(files, func(a, b deb.ControlFile) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range files {
		if err := l.made(InfoDir+"/"+l.note.InfoName()+"."+f.Name, f.Mode&0o755, f.Data); err != nil {
			return err
		}
	}
	return l.made(StatusPath, 0o644, append(slices.Clone(status), '\n'))
}

// StatusPath is dpkg's list of packages.
const StatusPath = "var/lib/dpkg/status"

// made lays out a regular file of root's that the recipe makes.
func (l *layer) made(p string, mode int64, data []byte) error {
	e := &Entry{Path: p, Type: tar.TypeReg, Mode: mode, Size: int64(len(data)), ModTime: l.control.modTime, Digest: snapshot.Sum(data), Made: true}
	return l.put(e, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// List is the package's list of files as dpkg writes it, without the paths that
// another package took over.
func (n *Note) List(without map[string]bool) []byte {
	var b bytes.Buffer
	for _, name := range n.Names {
		if !without[name] {
			fmt.Fprintf(&b, "/%s\n", name)
		}
	}
	return b.Bytes()
}
