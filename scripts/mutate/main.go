// Command mutate takes single checks out of the code, one at a time, and holds
// that a named test turns red each time. See scripts/mutate.sh.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutation is one edit: lines of a file, without regard to indentation, and
// what stands in their place.
type mutation struct {
	name, file, pkg, run string
	old, new             []string
}

func main() {
	only := flag.String("only", "", "run those whose name matches this `regexp`")
	flag.Parse()
	if err := run(flag.Arg(0), *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(list, only string) error {
	data, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mmoci-mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	red, total := 0, 0
	for _, m := range parse(string(data)) {
		if !wanted.MatchString(m.name) {
			continue
		}
		total++
		verdict, ok := m.try(work)
		if ok {
			red++
		}
		fmt.Printf("%-46s %-28s %s\n", m.name, filepath.Base(m.file), verdict)
	}
	fmt.Printf("%d of %d turned a test red\n", red, total)
	if red != total || total == 0 {
		return fmt.Errorf("%d survived", total-red)
	}
	return nil
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
			m.new = append(m.new, rest)
		}
	}
	return all
}

// apply makes the edited text; the old lines must stand in it exactly once.
func (m mutation) apply(text string) (string, error) {
	lines := strings.Split(text, "\n")
	at := -1
	for i := range lines {
		if i+len(m.old) > len(lines) {
			break
		}
		match := true
		for j, o := range m.old {
			match = match && strings.TrimSpace(lines[i+j]) == o
		}
		if match && at >= 0 {
			return "", fmt.Errorf("stands there twice")
		}
		if match {
			at = i
		}
	}
	if at < 0 || len(m.old) == 0 {
		return "", fmt.Errorf("is not there any more")
	}
	out := append([]string{}, lines[:at]...)
	out = append(out, m.new...)
	return strings.Join(append(out, lines[at+len(m.old):]...), "\n"), nil
}

// maxRun bounds one test run: a mutation may make it endless.
const maxRun = 3 * time.Minute

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try runs the tests with the edit laid over the file, which stays as it is.
func (m mutation) try(work string) (verdict string, red bool) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return err.Error(), false
	}
	edited, err := m.apply(string(text))
	if err != nil {
		return "STALE: the old text " + err.Error(), false
	}
	full, err := filepath.Abs(m.file)
	if err != nil {
		return err.Error(), false
	}
	aside, overlay := filepath.Join(work, "edited.go"), filepath.Join(work, "overlay.json")
	over, err := json.Marshal(map[string]map[string]string{"Replace": {full: aside}})
	if err != nil {
		return err.Error(), false
	}
	if err := os.WriteFile(aside, []byte(edited), 0o600); err != nil {
		return err.Error(), false
	}
	if err := os.WriteFile(overlay, over, 0o600); err != nil {
		return err.Error(), false
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxRun)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "test", "-vet=off", "-count=1", "-failfast", "-timeout", "150s", "-overlay", overlay, "-run", m.run, m.pkg).CombinedOutput()
	switch {
	case err == nil:
		return "SURVIVED", false
	case strings.Contains(string(out), "[build failed]"):
		return "DOES NOT BUILD: " + firstLine(string(out)), false
	}
	deepest := "red (" + firstLine(string(out)) + ")"
	for _, f := range failed.FindAllStringSubmatch(string(out), -1) {
		deepest = "red: " + f[1]
	}
	return deepest, true
}

func firstLine(s string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}
