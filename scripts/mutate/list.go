package main

import (
	"errors"
	"strings"
)

// mutation is one edit: lines of a file, without regard to indentation, and
// what stands in their place.
type mutation struct {
	name, file, pkg, run string
	old, new             []string
}

// parse reads the list: "= NAME", "@ FILE PACKAGE TESTS", "- old line"...,
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
			m.file, m.pkg, m.run = f[0], f[1], f[2]
		case "- ":
			m.old = append(m.old, strings.TrimSpace(rest))
		case "+ ":
			m.new = append(m.new, strings.TrimSpace(rest))
		}
	}
	return all
}

// find gives the number, from 0, of the line where the old lines stand; they
// must stand there exactly once.
func (m mutation) find(text string) (int, error) {
	lines := strings.Split(text, "\n")
	at := -1
	for i := 0; i+len(m.old) <= len(lines); i++ {
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
	if last > 0 || strings.Contains(first, ":=") || strings.HasSuffix(first, ",") || strings.HasSuffix(first, "{") || strings.HasSuffix(first, ":") || len(m.new) != 1 {
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
