package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the documents of the repository, from its top.
func pages(t *testing.T) []string {
	out := []string{"README.md"}
	for _, pattern := range []string{"artifacts/*.md", "artifacts/docs/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			rel, err := filepath.Rel("..", f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rel)
		}
	}
	if len(out) < 6 {
		t.Errorf("only %d pages: %v", len(out), out)
	}
	return out
}

// TestLinks: what a page links to is there.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestArchitecture: ARCHITECTURE.md has a line for every package, and the files, tests and functions that it names are there.
func TestArchitecture(t *testing.T) {
	data, err := os.ReadFile("../artifacts/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	tests := map[string]bool{}
	for _, top := range []string{"cmd", "pkg", "internal", "scripts", "artifacts"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
				return err
			}
			dir := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(file), "../"))
			if !strings.HasSuffix(file, "_test.go") {
				if !strings.Contains(text, "`"+dir+"`") {
					t.Errorf("no line for %s", dir)
					text += "`" + dir + "`" // said once
				}
				return nil
			}
			source, err := os.ReadFile(file)
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`).FindAllStringSubmatch(string(source), -1) {
				tests[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(data), -1) {
		switch name := m[1]; {
		case regexp.MustCompile(`^(Test|Fuzz|Example)\w+$`).MatchString(name):
			if !tests[name] {
				t.Errorf("there is no test %s", name)
			}
		case regexp.MustCompile(`^(cmd|pkg|internal|scripts|artifacts|testdata)(/[\w.-]+)+$`).MatchString(name):
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("names %s: %v", name, err)
			}
		}
	}
}
