package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mutation is one edit: lines of a declaration, without regard to indentation, and
// what stands in their place.
type mutation struct {
	name      string
	dir, decl string // the package, and the function, Type.method, type, variable or constant in it
	pkg, run  string // the tests that must turn red
	old, new  []string

	file        string // where the declaration is
	first, last int    // its lines there, from 0, last exclusive
}

// readLists reads the lists below a directory: PACKAGE.txt holds the edits of a package.
func readLists(dir string) ([]mutation, error) {
	var all []mutation
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		of, err := filepath.Rel(dir, strings.TrimSuffix(name, ".txt"))
		if err != nil {
			return err
		}
		found := parse(string(text))
		for i := range found {
			found[i].dir = of
		}
		if err := locate(of, found); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, found...)
		return nil
	})
	return all, err
}

// parse reads a list: "= NAME", "@ DECLARATION PACKAGE TESTS", "- old line"...,
// "+ new line"...; anything else is comment.
func parse(text string) []mutation {
	var all []mutation
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if len(line) < 2 {
			continue
		}
		rest := line[2:]
		if line[:2] == "= " {
			all = append(all, mutation{name: rest})
			continue
		}
		if len(all) == 0 {
			continue
		}
		m := &all[len(all)-1]
		switch line[:2] {
		case "@ ":
			f := strings.Fields(rest)
			m.decl, m.pkg, m.run = f[0], f[1], f[2]
		case "- ":
			m.old = append(m.old, strings.TrimSpace(rest))
		case "+ ":
			m.new = append(m.new, strings.TrimSpace(rest))
		}
	}
	return all
}

// locate finds the declarations of a package's edits. One that is not there has no file.
func locate(dir string, all []mutation) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			for _, declared := range declares(d) {
				for i := range all {
					if all[i].decl == declared {
						all[i].file, all[i].first, all[i].last = name, set.Position(d.Pos()).Line-1, set.Position(d.End()).Line
					}
				}
			}
		}
	}
	return nil
}

// declares names what a declaration declares.
func declares(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return []string{d.Name.Name}
		}
		t := d.Recv.List[0].Type
		if star, ok := t.(*ast.StarExpr); ok {
			t = star.X
		}
		if generic, ok := t.(*ast.IndexExpr); ok {
			t = generic.X
		}
		if id, ok := t.(*ast.Ident); ok {
			return []string{id.Name + "." + d.Name.Name}
		}
	case *ast.GenDecl:
		var names []string
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, spec.Name.Name)
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					names = append(names, n.Name)
				}
			}
		}
		return names
	}
	return nil
}

// find gives the number, from 0, of the line where the old lines stand; they
// must stand in the declaration exactly once.
func (m mutation) find(text string) (int, error) {
	if m.file == "" {
		return 0, fmt.Errorf("STALE: %s has no %s", m.dir, m.decl)
	}
	lines := strings.Split(text, "\n")
	at := -1
	for i := m.first; i+len(m.old) <= m.last; i++ {
		match := true
		for j, o := range m.old {
			match = match && strings.TrimSpace(lines[i+j]) == o
		}
		if match && at >= 0 {
			return 0, errors.New("STALE: the old text stands there twice")
		}
		if match {
			at = i
		}
	}
	if at < 0 || len(m.old) == 0 {
		return 0, errors.New("STALE: the old text is not there any more")
	}
	return at, nil
}

// apply makes the edited text.
func (m mutation) apply(text string) (string, error) {
	at, err := m.find(text)
	if err != nil {
		return "", err
	}
	lines := strings.Split(text, "\n")
	out := append([]string{}, lines[:at]...)
	out = append(out, m.new...)
	return strings.Join(append(out, lines[at+len(m.old):]...), "\n"), nil
}

// switched makes the lines that stand for both, old and new, by the condition
// on; lines are those that stand there, perhaps with other switches in them
// already. False if the edit is not of a form that allows it.
func (m mutation) switched(lines []string, on string) ([]string, bool) {
	first, last := strings.TrimSpace(lines[0]), len(lines)-1
	if word, init, cond, end := condition(first); word != "" {
		newWord, newInit, newCond, _ := condition(m.new[0])
		if newWord != word || newCond == "" || newInit != init && newInit != "" || newCond != "false" && len(m.new) != len(m.old) {
			return nil, false
		}
		for i := 1; i < len(m.new) && newCond != "false"; i++ {
			if m.new[i] != m.old[i] {
				return nil, false
			}
		}
		head := word + " " + init + "(" + on + " && (" + newCond + ")) || (!(" + on + ") && (" + cond + "))" + end
		return append([]string{head}, lines[1:]...), true
	}
	if last > 0 || strings.Contains(first, ":=") || strings.HasSuffix(first, ",") || strings.HasSuffix(first, "{") || strings.HasSuffix(first, ":") || strings.HasSuffix(first, "||") || len(m.new) != 1 {
		return nil, false
	}
	if strings.HasPrefix(first, "return ") {
		return []string{"if " + on + " {", m.new[0], "}", first}, true
	}
	return []string{"if " + on + " {", m.new[0], "} else {", first, "}"}, true
}

// condition takes "if INIT; COND {" or "case COND:" apart.
func condition(line string) (word, init, cond, end string) {
	line, _, _ = strings.Cut(line, " //")
	if rest, ok := strings.CutPrefix(line, "if "); ok && strings.HasSuffix(rest, " {") {
		rest = strings.TrimSuffix(rest, " {")
		if i := strings.LastIndex(rest, "; "); i >= 0 {
			return "if", rest[:i+2], rest[i+2:], " {"
		}
		return "if", "", rest, " {"
	}
	if rest, ok := strings.CutPrefix(line, "case "); ok && strings.HasSuffix(rest, ":") && rest[0] != '"' { // a string is no condition
		return "case", "", strings.TrimSuffix(rest, ":"), ":"
	}
	return "", "", "", ""
}
