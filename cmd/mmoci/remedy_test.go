package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
)

// TestLibrariesNameNoFlag: what libraries say names no flag of ours: they do not know who calls them.
func TestLibrariesNameNoFlag(t *testing.T) {
	flags := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(commands(&command.App{}))
	except := map[string]string{
		"internal/config/lock.go":       "the head of a lock, which is part of the format",
		"internal/serve/web/setup.go":   "a recipe for a host, which calls mmoci",
		"internal/image/mmoci.go":       "the command of the container image",
		"internal/image/server.go":      "the command of the container image",
		"internal/host/dpkg.go":         "dpkg's own --root",
		"internal/engine/engine.go":     "docker's own --format",
		"internal/chain/proof.go":       "gpgv's own --keyring",
		"internal/rpmrepo/own.go":       "createrepo_c's own flags",
		"internal/builder/sbuild.go":    "sbuild's own flags",
		"internal/serve/web/package.go": "what a person types on a host",
	}
	for _, top := range []string{"pkg", "internal"} {
		err := filepath.WalkDir(filepath.Join("../..", top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			name := filepath.ToSlash(strings.TrimPrefix(file, "../../"))
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil || except[name] != "" {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					for _, f := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(lit.Value, -1) {
						if flags[f] {
							t.Errorf("%s names %s", name, f)
						}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
