package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
)

// manual is where the manual pages are, as Markdown: scripts/release.sh makes pages of them.
const manual = "../../artifacts/docs/man"

// pageOf is the page of a command: one for each command, with those below it.
func pageOf(c *cobra.Command) string {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
}

func readPage(t *testing.T, page string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(manual, page+".md"))
	if err != nil {
		t.Fatalf("every command has a manual page: %v", err)
	}
	return string(data)
}

// sections are the parts of a page below its headings "# NAME".
func sections(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n# ")[1:] {
		head, body, _ := strings.Cut(part, "\n")
		if _, ok := out[head]; ok {
			t.Fatalf("two parts are called %q", head)
		}
		out[head] = body
	}
	return out
}

// defined is the head of a definition: "**--output**, **-o** _FILE_" above ":   meaning".
var defined = regexp.MustCompile(`(?m)^\*\*(?:--)?([a-z-]+)\*\*(?:, \*\*-([a-z])\*\*)?(?: _([^\n]+)_)?\n:   .`)

// options are what a part of a page says of flags: "--output -o FILE".
func options(part string) []string {
	var out []string
	for _, m := range defined.FindAllStringSubmatch(part, -1) {
		if strings.HasPrefix(m[0], "**--") {
			out = append(out, option(m[1], m[2], m[3] != ""))
		}
	}
	slices.Sort(out)
	return out
}

func option(name, short string, value bool) string {
	s := "--" + name
	if short != "" {
		s += " -" + short
	}
	if value {
		s += " VALUE"
	}
	return s
}

// missing is what a page lacks of a command's flags, to be put there.
func missing(c *cobra.Command, have []string) string {
	var out strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		if !slices.Contains(flagsOf(c), option(f.Name, f.Shorthand, f.Value.Type() != "bool")) || slices.Contains(have, option(f.Name, f.Shorthand, f.Value.Type() != "bool")) {
			return
		}
		fmt.Fprintf(&out, "\n\n**--%s**", f.Name)
		if f.Shorthand != "" {
			fmt.Fprintf(&out, ", **-%s**", f.Shorthand)
		}
		if value != "" {
			fmt.Fprintf(&out, " _%s_", strings.ToUpper(value))
		}
		fmt.Fprintf(&out, "\n:   %s", strings.ToUpper(usage[:1])+usage[1:])
	})
	if out.Len() == 0 {
		return ""
	}
	return "\nit lacks" + out.String()
}

// withoutDefault names the defaults of a command's flags that a part of a page does not say.
func withoutDefault(c *cobra.Command, part string) (out []string) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.DefValue == "" || slices.Contains([]string{"0", "0s", "false", "[]"}, f.DefValue) {
			return
		}
		_, meaning, _ := strings.Cut(part, "**--"+f.Name+"**")
		meaning, _, _ = strings.Cut(meaning, "\n\n")
		if !regexp.MustCompile(`\(default:? [^()]*` + regexp.QuoteMeta(f.DefValue)).MatchString(meaning) {
			out = append(out, f.DefValue+") of --"+f.Name)
		}
	})
	return out
}

// flagsOf are those of a command itself, as options gives them.
func flagsOf(c *cobra.Command) []string {
	var out []string
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && (f.Name != "help" || !c.HasParent()) {
			out = append(out, option(f.Name, f.Shorthand, f.Value.Type() != "bool"))
		}
	})
	slices.Sort(out)
	return out
}

// TestManual: every command and every flag is in its page, and nothing else is.
func TestManual(t *testing.T) {
	t.Parallel()
	root := commands(&command.App{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	pages := map[string]bool{"mmoci.1": true, "mmoci.yaml.5": true}
	top := sections(t, readPage(t, "mmoci.1"))
	if got, want := options(top["OPTIONS"]), flagsOf(root); !slices.Equal(got, want) {
		t.Errorf("mmoci.1: its options are\n%q\nthose of the program\n%q", got, want)
	}
	for _, c := range root.Commands() {
		name := c.Name()
		if name == "help" || name == "completion" {
			if !strings.Contains(top["COMMANDS"], "**mmoci "+name+"**") {
				t.Errorf("mmoci.1 does not name %s", name)
			}
			continue
		}
		page := pageOf(c)
		pages[page] = true
		if want := "**mmoci-" + name + "**(1)"; !strings.Contains(top["COMMANDS"], want+"\n:   "+c.Short) || !strings.Contains(top["SEE ALSO"], want) {
			t.Errorf("mmoci.1 does not say of %s: %s", want, c.Short)
		}
		checkPage(t, root, c, page)
	}
	found, err := filepath.Glob(filepath.Join(manual, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if page := strings.TrimSuffix(filepath.Base(f), ".md"); !pages[page] {
			t.Errorf("there is a page %s, and no such command", page)
		}
	}
	for page := range pages {
		checkReferences(t, root, page, pages)
	}
}

// checkPage compares the page of a command, and of those below it, with the program.
func checkPage(t *testing.T, root, c *cobra.Command, page string) {
	t.Helper()
	text := readPage(t, page)
	parts := sections(t, text)
	for _, want := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"} {
		if strings.TrimSpace(parts[want]) == "" {
			t.Errorf("%s has no %s", page, want)
		}
	}
	if !strings.HasPrefix(strings.TrimSpace(parts["NAME"]), strings.TrimSuffix(page, ".1")+" - ") {
		t.Errorf("%s: its NAME is %q", page, parts["NAME"])
	}
	own := map[string]*cobra.Command{"OPTIONS": c}
	if c.HasSubCommands() {
		own = map[string]*cobra.Command{}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				own[strings.ToUpper(sub.CommandPath())] = sub
			}
		}
	}
	for head, sub := range own {
		if _, there := parts[head]; !there {
			t.Errorf("%s has no part %s", page, head)
			continue
		}
		if got, want := options(parts[head]), flagsOf(sub); !slices.Equal(got, want) {
			t.Errorf("%s, %s: its options are\n%q\nthose of the program\n%q%s", page, head, got, want, missing(sub, got))
		}
		for _, s := range withoutDefault(sub, parts[head]) {
			t.Errorf("%s, %s: it does not say (default: %s", page, head, s)
		}
		_, arguments, _ := strings.Cut(sub.Use, " ")
		if want := strings.TrimSpace("**" + sub.CommandPath() + "** [_OPTION_..] " + arguments); !slices.Contains(lines(parts["SYNOPSIS"]), want) {
			t.Errorf("%s: its SYNOPSIS has no line %s", page, want)
		}
	}
	for head := range parts {
		if strings.HasPrefix(head, "MMOCI ") && own[head] == nil {
			t.Errorf("%s has a part %s, and there is no such command", page, head)
		}
	}
}

func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// checkReferences: flags that a page names anywhere are flags, its examples are command lines of the program, and pages of
// mmoci that it refers to are there.
func checkReferences(t *testing.T, root *cobra.Command, page string, pages map[string]bool) {
	t.Helper()
	text := readPage(t, page)
	all := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, f := range flagsOf(c) {
			all[strings.Fields(f)[0]] = true
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, m := range regexp.MustCompile(`\*\*(--[a-z-]+)\*\*`).FindAllStringSubmatch(text, -1) {
		if !all[m[1]] {
			t.Errorf("%s names %s, which no command has", page, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\*\*(mmoci[a-z.-]*)\*\*\((\d)\)`).FindAllStringSubmatch(text, -1) {
		if !pages[m[1]+"."+m[2]] {
			t.Errorf("%s refers to %s(%s), which is not there", page, m[1], m[2])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    (?:[A-Z_]+=\S+ )?mmoci ([^|#\n]*)`).FindAllStringSubmatch(text, -1) {
		line, _, _ := strings.Cut(m[1], " && ")
		line, _, _ = strings.Cut(line, " || ")
		c, rest, err := root.Find(strings.Fields(strings.TrimSuffix(strings.NewReplacer(`"`, "", "'", "").Replace(line), `\`)))
		if err != nil || c == root {
			t.Errorf("%s: mmoci %s: no such command (%v)", page, line, err)
			continue
		}
		for _, word := range rest {
			name, isFlag := strings.CutPrefix(word, "-")
			if !isFlag || name == "" {
				continue
			}
			long, isLong := strings.CutPrefix(name, "-")
			long, _, _ = strings.Cut(long, "=")
			if isLong && long != "" && c.Flag(long) == nil || !isLong && c.Flags().ShorthandLookup(name) == nil {
				t.Errorf("%s: mmoci %s: there is no %s", page, line, word)
			}
		}
	}
}

// TestManualOfConfiguration: mmoci.yaml(5) has every key that the program reads, and no other.
func TestManualOfConfiguration(t *testing.T) {
	t.Parallel()
	parts := sections(t, readPage(t, "mmoci.yaml.5"))
	for section, want := range configurationKeys(t) {
		var got []string
		if section, key, ok := strings.Cut(section, "/"); ok { // the keys of each of its entries stand in the key's own text
			_, text, _ := strings.Cut(parts[section], "\n**"+key+"**\n:   ")
			text, _, _ = strings.Cut(text, "\n\n")
			for _, m := range regexp.MustCompile(`\*\*([a-z0-9-]+)\*\*`).FindAllStringSubmatch(text, -1) {
				if m[1] != "none" { // a value
					got = append(got, m[1])
				}
			}
		} else {
			for _, m := range defined.FindAllStringSubmatch(parts[section], -1) {
				got = append(got, m[1])
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("mmoci.yaml.5, %s: its keys are\n%q\nthose of the program\n%q", section, got, want)
		}
	}
}

// configurationKeys reads the keys out of internal/config: those of a mapping stand in one literal.
func configurationKeys(t *testing.T) map[string][]string {
	t.Helper()
	sectionOf := map[string]string{"top": "KEYS", "sign": "SIGN", "trust": "TRUST", "serve": "SERVE", "images": "IMAGES", "archive": "ARCHIVES", "mirrors": "MIRRORS",
		"merged": "MERGED ARCHIVES", "taken": "ARCHIVES OF OTHER SNAPSHOTS", "Parse": "RPM REPOSITORIES",
		"Read": "ARCHIVES OF FILES", "readFiles": "ARCHIVES OF FILES/files", "readSums": "ARCHIVES OF FILES/sums"}
	out := map[string][]string{}
	files, err := filepath.Glob("../../internal/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../internal/config/rpmplan/rpmplan.go", "../../internal/config/fileplan/fileplan.go") {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "minimirror.go") { // that one reads another program's input
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				keys := fieldsOf(n)
				if keys == nil {
					return true
				}
				section := sectionOf[f.Name.Name]
				if section == "" {
					t.Errorf("%s, %s reads keys that mmoci.yaml.5 has no section for: %q", file, f.Name.Name, keys)
				}
				out[section] = slices.Sorted(slices.Values(append(out[section], keys...)))
				return true
			})
		}
	}
	if len(out) < len(sectionOf) {
		t.Errorf("keys of %q alone were found", slices.Sorted(maps.Keys(out)))
	}
	return out
}

// fieldsOf are the keys of a literal of document.Fields.
func fieldsOf(n ast.Node) []string {
	lit, ok := n.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	if sel, ok := lit.Type.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Fields" {
		return nil
	}
	var keys []string
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if s, ok := kv.Key.(*ast.BasicLit); ok {
				if key, err := strconv.Unquote(s.Value); err == nil {
					keys = append(keys, key)
				}
			}
		}
	}
	return keys
}
