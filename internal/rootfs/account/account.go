// Package account says of every maintainer script of an image's packages what
// became of it, a line each, so that none is ever silently dropped.
package account

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Scripts are the scripts that a package may have, in the order of their calls;
// the last two are for its removal.
var Scripts = []string{"config", "preinst", "postinst", "prerm", "postrm"}

// What became of a script.
type What string

const (
	// None: the package has no script. The line's Script is "-".
	None What = "none"
	// NoOp: by its text, the script does nothing in a new root.
	NoOp What = "no-op"
	// Ran: dpkg or debconf ran the script.
	Ran What = "ran"
	// NotRun: scripts: none was asked for, and the script would have done something.
	NotRun What = "not-run"
	// Skipped: the plan names the package among those that are skipped.
	Skipped What = "skipped"
	// Later: the script is for a removal, and stays in dpkg's database.
	Later What = "later"
	// Made: a fix-up made what Detail says. The line's Package is the fix-up.
	Made What = "made"
	// Capabilities: a file lost its file capabilities, which layers do not have. Package, Version and Script are "-".
	Capabilities What = "capabilities"
	// Built: the package is the site's, built of a source; Detail names the source's identity. Script is "-".
	Built What = "built"
	// Cleaned: a file that scripts made is not in the image. Package, Version and Script are "-".
	Cleaned What = "cleaned"
)

var all = []What{None, NoOp, Ran, NotRun, Skipped, Later, Made, Capabilities, Built, Cleaned}

// File is a line about a file: one of [Capabilities] or [Cleaned], and why.
func File(what What, path, why string) Line {
	return Line{Package: "-", Version: "-", Script: "-", What: what, Detail: "/" + path + ": " + why}
}

// Line is a line of the account.
type Line struct {
	Package, Version string // of a fix-up, its name and "-"
	Script           string // one of Scripts, or "-"
	What             What
	Detail           string // the rest, for people; may be empty
}

// Package are the lines of a package: what is that of its scripts that are called
// at an installation, which are given by name and text.
func Package(name, version string, scripts map[string][]byte, what What) []Line {
	var lines []Line
	for _, s := range Scripts {
		text, ok := scripts[s]
		if !ok {
			continue
		}
		l := Line{Package: name, Version: version, Script: s, What: what}
		switch {
		case s == "prerm" || s == "postrm":
			l.What = Later
		case what == NotRun && IsNoOp(s, text):
			l.What = NoOp
		}
		lines = append(lines, l)
	}
	if lines == nil {
		lines = []Line{{Package: name, Version: version, Script: "-", What: None}}
	}
	return lines
}

// Encode writes lines: five fields with a tab between them. A control character, which a name of a file may have, is written as in Go.
func Encode(lines []Line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\n", printable(l.Package), printable(l.Version), printable(l.Script), printable(string(l.What)), printable(l.Detail))
	}
	return b.Bytes()
}

func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unprintable tells control characters, and what is no text.
func unprintable(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

// Parse reads what Encode wrote.
func Parse(text []byte) ([]Line, error) {
	var lines []Line
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if line == "" && len(text) == 0 {
			break
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 {
			return nil, fmt.Errorf("account, line %d: want 5 fields", n+1)
		}
		l := Line{f[0], f[1], f[2], What(f[3]), f[4]}
		switch {
		case slices.ContainsFunc(f, func(s string) bool { return s != printable(s) }):
			return nil, fmt.Errorf("account, line %d: a control character in it", n+1)
		case !slices.Contains(all, l.What):
			return nil, fmt.Errorf("account, line %d: %.50q is no word for what became of a script", n+1, f[3])
		case l.Package == "" || l.Version == "" || l.Script != "-" && !slices.Contains(Scripts, l.Script):
			return nil, fmt.Errorf("account, line %d: package %.100q, version %.100q, script %.50q", n+1, f[0], f[1], f[2])
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// IsNoOp tells from its text whether a script does nothing when a package is
// installed for the first time in a new root. Everything that is not known to do
// nothing does something: what remains, when comments, the shell's frame and the
// blocks of debhelper are taken away that are written below word by word, must be
// empty.
func IsNoOp(script string, text []byte) bool {
	if script == "prerm" || script == "postrm" {
		return false
	}
	var rest []string
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(line, " \t")
		switch {
		case n == 0:
			if line != "#!/bin/sh" && line != "#! /bin/sh" && line != "#!/bin/sh -e" && line != "#!/bin/bash" && line != "#!/bin/dash" {
				return false
			}
		case strings.HasSuffix(line, "\\") && isMaintHelper(strings.TrimSpace(strings.TrimSuffix(line, "\\"))):
			return false
		case line == "" || strings.HasPrefix(strings.TrimLeft(line, " \t"), "#"):
		default:
			rest = append(rest, strings.TrimSpace(line))
		}
	}
	for i := 0; i < len(rest); {
		n := idle(rest[i:])
		if n == 0 {
			return false
		}
		i += n
	}
	return true
}

// blocks of debhelper that do nothing then: autoscripts of dh_makeshlibs, and the
// test whether an alternative's old name is to be removed.
var blocks = [][]string{
	{`if [ "$1" = "configure" ]; then`, "ldconfig", "fi"},
	{`if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ]; then`, "ldconfig", "fi"},
	{"set -e"},
	{"exit 0"},
	{"true"},
	{":"},
}

// idle is how many lines from the first on do nothing; 0 if the first may do
// something.
func idle(lines []string) int {
	for _, b := range blocks {
		if len(lines) >= len(b) && slices.Equal(lines[:len(b)], b) {
			return len(b)
		}
	}
	if isMaintHelper(lines[0]) {
		return 1
	}
	return 0
}

// isMaintHelper tells a call of dpkg-maintscript-helper(1), as dh_installdeb
// writes it: each of its commands asks whether an older version was there.
func isMaintHelper(line string) bool {
	f := strings.Fields(line)
	if len(f) < 5 || f[0] != "dpkg-maintscript-helper" {
		return false
	}
	switch f[1] {
	case "rm_conffile", "mv_conffile", "symlink_to_dir", "dir_to_symlink":
	default:
		return false
	}
	if f[len(f)-2] != "--" || f[len(f)-1] != `"$@"` {
		return false
	}
	for _, word := range f[2 : len(f)-2] {
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+~:-") != "" {
			return false
		}
	}
	return true
}
