package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLibraries: what is not a command imports neither a command nor the server, and writes to
// no stream of the process: it is given where to write.
func TestLibraries(t *testing.T) {
	seen := 0
	for _, top := range []string{"pkg", "internal"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil || parsed.Name.Name == "main" {
				return err
			}
			seen++
			checkLibrary(t, filepath.ToSlash(strings.TrimPrefix(file, "../")), parsed)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 50 {
		t.Errorf("only %d files were looked at", seen)
	}
}

func checkLibrary(t *testing.T, file string, parsed *ast.File) {
	isServer := strings.HasPrefix(file, "internal/serve/")
	osName := "os"
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		in := func(dir string) bool { return name == module+dir || strings.HasPrefix(name, module+dir+"/") }
		if in("cmd") || in("internal/serve") && !isServer {
			t.Errorf("%s imports %s, which a library must never", file, name)
		}
		if name == "os" && spec.Name != nil {
			osName = spec.Name.Name
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == osName && (sel.Sel.Name == "Stdout" || sel.Sel.Name == "Stderr") {
			t.Errorf("%s names os.%s", file, sel.Sel.Name)
		}
		return true
	})
}
