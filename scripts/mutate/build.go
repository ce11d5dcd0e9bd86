package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// An edit may make a test endless: it is ended with its name, which counts, or else from outside.
const (
	maxTest = time.Minute
	maxRun  = 5 * time.Minute
)

// build is the test programs with all edits that can be switched on.
type build struct {
	work     string
	overlay  string          // of the switched files
	number   string          // file that names the edit that is on
	switched map[int]bool    // edits in there
	programs map[string]bool // packages that were built
}

// newBuild writes the switched files.
func newBuild(work string, all []mutation) (*build, error) {
	b := &build{work: work, number: filepath.Join(work, "number"), switched: map[int]bool{}, programs: map[string]bool{}}
	texts, over := map[string]string{}, map[string]string{}
	for i, m := range all {
		if m.file == "" {
			continue // try tells
		}
		text, ok := texts[m.file]
		if !ok {
			data, err := os.ReadFile(m.file)
			if err != nil {
				return nil, err
			}
			text = string(data)
		}
		texts[m.file] = text
		// Edits are found in the file as it is; lines keep their numbers, whatever they hold by now.
		data, err := os.ReadFile(m.file)
		if err != nil {
			return nil, err
		}
		at, err := m.find(string(data))
		if err != nil {
			continue // try tells
		}
		lines := strings.Split(text, "\n")
		made, ok := m.switched(lines[at:at+len(m.old)], fmt.Sprintf("mutant == %d", i+1))
		if !ok {
			continue
		}
		b.switched[i] = true
		if len(made) > len(m.old) {
			made = []string{strings.Join(made, "; ")}
			made[0] = strings.ReplaceAll(strings.ReplaceAll(made[0], "{; ", "{ "), "; } else", " } else")
		}
		texts[m.file] = strings.Join(append(append(append([]string{}, lines[:at]...), made...), lines[at+len(m.old):]...), "\n")
	}
	for file, text := range texts {
		if err := b.replace(over, "all", file, text); err != nil {
			return nil, err
		}
		hook := filepath.Join(filepath.Dir(file), "mutant.go")
		if err := b.replace(over, "all", hook, fmt.Sprintf(hookText, packageOf(text), b.number)); err != nil {
			return nil, err
		}
	}
	var err error
	b.overlay, err = writeOverlay(filepath.Join(work, "overlay.json"), over)
	return b, err
}

// hookText tells, in each package, which edit is on. A file, because tests start programs with an environment of their own.
const hookText = `package %s

import (
	"os"
	"strconv"
)

var mutant = func() int {
	text, _ := os.ReadFile(%q)
	n, _ := strconv.Atoi(string(text))
	return n
}()
`

func packageOf(text string) string {
	m := regexp.MustCompile(`(?m)^package (\w+)`).FindStringSubmatch(text)
	return m[1]
}

// replace lays text over a file, which need not be there, in one sort of programs.
func (b *build) replace(over map[string]string, sort, file, text string) error {
	full, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	aside := filepath.Join(b.work, sort+"_"+strings.ReplaceAll(file, "/", "_"))
	over[full] = aside
	return os.WriteFile(aside, []byte(text), 0o600)
}

func writeOverlay(name string, over map[string]string) (string, error) {
	data, err := json.Marshal(map[string]map[string]string{"Replace": over})
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(name, data, 0o600)
}

// try turns one edit on and runs its tests.
func (b *build) try(i int, m mutation) (verdict string, red bool) {
	text, err := os.ReadFile(m.file)
	if err != nil && m.file != "" {
		return err.Error(), false
	}
	edited, err := m.apply(string(text))
	if err != nil {
		return err.Error(), false
	}
	if b.switched[i] {
		if err := os.WriteFile(b.number, fmt.Append(nil, i+1), 0o600); err != nil {
			return err.Error(), false
		}
		program, out := b.program(m.pkg, b.overlay, "all")
		if program == "" {
			return "DOES NOT BUILD: " + firstLine(out), false
		}
		return b.judge(program, m)
	}
	over := map[string]string{}
	if err := b.replace(over, "one", m.file, edited); err != nil {
		return err.Error(), false
	}
	overlay, err := writeOverlay(filepath.Join(b.work, "one.json"), over)
	if err != nil {
		return err.Error(), false
	}
	program, out := b.program(m.pkg, overlay, fmt.Sprintf("one%d", i))
	if program == "" {
		return "DOES NOT BUILD: " + firstLine(out), false
	}
	defer os.Remove(program)
	return b.judge(program, m)
}

// program builds the tests of a package, once an overlay; "" and what the compiler says if it cannot.
func (b *build) program(pkg, overlay, sort string) (program, out string) {
	program = filepath.Join(b.work, sort+strings.ReplaceAll(pkg, "/", "_")+".test")
	if b.programs[program] {
		return program, ""
	}
	said, err := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", program, pkg).CombinedOutput()
	if err != nil {
		return "", string(said)
	}
	b.programs[program] = true
	return program, ""
}

var failed = regexp.MustCompile(`(?m)(?:^\s*--- FAIL: |^\s*running tests:\s+)(\S+)`)

// judge runs the tests of m; red if one that has a name fails.
func (b *build) judge(program string, m mutation) (verdict string, red bool) {
	ctx, cancel := context.WithTimeout(context.Background(), maxRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.failfast", "-test.timeout", maxTest.String(), "-test.run", m.run)
	cmd.Dir = m.pkg
	said, err := cmd.CombinedOutput()
	out := string(said)
	deepest := ""
	for _, f := range failed.FindAllStringSubmatch(out, -1) {
		deepest = f[1]
	}
	switch {
	case err == nil:
		return "SURVIVED", false
	case ctx.Err() != nil:
		return "TIMED OUT", false
	case deepest == "":
		return "NO TEST IS NAMED: " + firstLine(out), false
	}
	return "red: " + deepest, true
}

func firstLine(s string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}
