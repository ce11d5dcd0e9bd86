package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "example.org/mmoci/"

// rules say what a package must never import directly, by prefix of the import
// path. They are what keeps one waist between Debian and OCI.
var rules = map[string][]string{
	"pkg/xz":                   {"net/http", "os", module},
	"pkg/deb":                  {"net/http", "os", module + "pkg/archive", module + "pkg/resolve", module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/rpm":                  {"net/http", "os", module + "pkg/archive", module + "pkg/snapshot", module + "pkg/artifact", module + "internal"},
	"internal/config/rpmplan":  {"net/http", "os", oras, imageSpec, ggcr, module + "pkg"},
	"internal/rpmrows":         {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/rpmrepo":         {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/prove/rpmproof":  {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/upstream", module + "internal/freeze", module + "internal/serve"},
	"pkg/archive/pgp":          {"net/http", "os", module},
	"pkg/archive/sums":         {"net/http", "os", module},
	"pkg/archive":              {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/resolve":              {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/resolve/candidate":    {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/resolve/order":        {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/resolve/query":        {"net/http", "os", module + "pkg/archive", module + "pkg/resolve", module + "pkg/artifact", module + "pkg/snapshot", module + "internal"},
	"pkg/snapshot":             {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal"},
	"pkg/snapshot/verified":    {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/snapshot", module + "pkg/artifact", module + "internal"},
	"pkg/artifact":             {"net/http", oras, imageSpec, module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"pkg/artifact/images":      {"net/http", oras, imageSpec, ggcr, module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"pkg/artifact/places":      {"net/http", oras, imageSpec, ggcr, module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"pkg/artifact/oci":         {"net/http", oras, imageSpec, module + "pkg/artifact", module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"pkg/artifact/layout":      {"net/http", oras, imageSpec, module + "pkg/artifact/remote", module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"pkg/artifact/remote":      {module + "pkg/artifact/layout", module + "pkg/deb", module + "pkg/archive", module + "internal"},
	"internal/durable":         {module},
	"internal/spool":           {module},
	"internal/transfer":        {module},
	"internal/config":          {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/config/document": {"net/http", oras, imageSpec, ggcr, module + "pkg"},
	"internal/state":           {"net/http", oras, imageSpec, ggcr, module + "pkg"},
	"internal/upstream":        {module},
	"internal/outcome":         {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact"},
	"internal/parallel":        {module},
	"internal/debdir":          {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/bundle":          {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/signer":          {oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/place":           {oras, imageSpec, module + "internal/serve"},
	"internal/prove":           {"net/http", oras, imageSpec, module + "internal/upstream", module + "internal/freeze", module + "internal/place", module + "internal/serve"},
	"internal/prove/byformat":  {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact"},
	"internal/prove/fileproof": {"net/http", "os", oras, imageSpec, module + "pkg/artifact", module + "internal/upstream", module + "internal/config", module + "internal/freeze", module + "internal/serve"},
	"internal/passenger":       {"net/http", oras, imageSpec, ggcr, module + "internal/upstream", module + "internal/place", module + "internal/serve"},
	"internal/suites":          {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/resolve", module + "internal/freeze", module + "internal/serve"},
	"internal/freeze":          {oras, imageSpec, module + "pkg/artifact", module + "internal/serve"},
	"internal/extract":         {"net/http", oras, imageSpec, module + "internal/upstream", module + "internal/freeze", module + "internal/serve"},
	"internal/others":          {"net/http", "os", oras, imageSpec, ggcr, module + "internal/serve"},
	"internal/merge":           {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact", module + "pkg/resolve"},
	"internal/taken":           {"net/http", "os", oras, imageSpec, ggcr, module + "internal/upstream", module + "internal/serve"},
	"internal/outdated":        {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/listed":          {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/freeze", module + "internal/serve"},
	"internal/fileset":         {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/fetchreport":     {"net/http", "os", oras, imageSpec, ggcr, module},
	"internal/image":           {"net/http", oras, imageSpec, ggcr, module + "internal/serve"},
	"internal/rootfs":          {"net/http", "os", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/resolve", module + "internal/serve", module + "internal/place"},
	"internal/builddeps":       {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal/prove", module + "internal/serve"},
	"internal/buildenv":        {"net/http", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/debsource":       {"net/http", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal/serve"},
	"internal/builder":         {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal/serve", module + "internal/freeze"},
	"internal/sbom":            {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact"},
	"internal/provenance":      {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact"},
	"internal/distribution":    {"net/http", "os", oras, imageSpec, ggcr, module + "internal", module + "pkg/artifact"},
	"internal/inventory":       {"net/http", "os", oras, imageSpec, ggcr, module + "internal/imagebuild", module + "internal/serve"},
	"internal/imagefind":       {"net/http", "os", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/buildsource":     {"net/http", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/sourcebuild":     {"net/http", "os/exec", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/serve"},
	"internal/imageinit":       {"net/http", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/embedded":        {"net/http", "os/exec", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/builds":          {"net/http", "os/exec", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/imageproof":      {"net/http", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/imagebuild":      {"net/http", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/imagelock":       {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/layercache":      {"net/http", "os/exec", oras, imageSpec, ggcr, module + "internal/freeze", module + "internal/upstream", module + "internal/serve"},
	"internal/syncfiles":       {"net/http", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/lock":            {oras, imageSpec, module + "pkg/artifact", module + "internal/serve"},
	"internal/push":            {oras, imageSpec, module + "internal/extract", module + "internal/serve"},
	"internal/static":          {"net/http", oras, imageSpec, ggcr, module + "internal/upstream", module + "internal/freeze", module + "internal/serve"},
	"internal/hook":            {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},
	"internal/site":            {oras, imageSpec, module + "internal/extract", module + "internal/serve"},
	"internal/probe":           {"os", oras, imageSpec, ggcr, module + "internal", module + "pkg/deb", module + "pkg/archive"},
	"internal/changes":         {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/resolve", module + "internal/serve"},
	"internal/chain":           {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/resolve", module + "internal/prove", module + "internal/serve"},
	"internal/store":           {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/policy":          {"net/http"},
	"internal/mirrors":         {"os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/archive", module + "internal/serve", module + "internal/place"},
	"internal/registry":        {"os", oras, imageSpec, ggcr, module + "pkg/deb", module + "pkg/resolve", module + "internal/serve", module + "internal/store"},
	"internal/serve":           {oras, imageSpec, module + "pkg/resolve", module + "pkg/artifact"},
	"internal/engine":          {"net/http", oras, imageSpec, ggcr, module + "internal/serve", module + "internal/host"},
	"internal/host":            {oras, imageSpec, module + "internal/serve", module + "pkg/artifact"},
	"internal/testarchive":     {module + "pkg/archive", module + "pkg/deb"},

	"internal/rootfs/sharedlib": {"net/http", "os", oras, imageSpec, ggcr, module},
	"internal/rootfs/stack":     {"net/http", "os", "os/exec", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/resolve", module + "internal/serve"},
	"internal/rootfs/fixup":     {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/serve"},

	// What reads foreign files knows nothing but files.
	"internal/config/aptlyconf":  {"net/http", "os", oras, imageSpec, ggcr, module + "pkg"},
	"internal/config/keypins":    {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/config/exactlist":  {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "pkg/snapshot", module + "internal/upstream"},
	"internal/config/fileplan":   {"net/http", "os", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/upstream"},
	"internal/config/imageplan":  {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/config/minimirror": {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact"},
	"internal/config/hostapt":    {"net/http", oras, imageSpec, ggcr, module + "pkg/artifact", module + "internal/config/minimirror"},
	"internal/config/foreign":    {"net/http", oras, imageSpec, ggcr, module + "pkg"},

	"internal/serve/byaddress": {"net/http", "os", module + "internal", module + "pkg/archive", module + "pkg/artifact"},
	"internal/serve/condition": {"os", module + "internal", module + "pkg/archive", module + "pkg/artifact"},
	"internal/serve/front":     {"os", oras, imageSpec, ggcr, module + "internal/place", module + "internal/store", module + "internal/registry", module + "pkg/artifact", module + "pkg/archive", module + "pkg/resolve"},
	"internal/serve/opened":    {"net/http", "os", "log/slog", module + "internal", module + "pkg/archive", module + "pkg/artifact"},
	"internal/serve/secrets":   {"os", module},
	"internal/serve/watch":     {"net/http", module},
	"internal/serve/web":       {"net/http", "os", "log/slog", module + "internal/serve", module + "internal/store", module + "pkg/artifact"},
	"internal/serve/dates":     {"net/http", module + "internal/serve", module + "pkg/artifact"},
	"internal/serve/listen":    {module},
	"internal/serve/logs":      {"os", module + "internal", module + "pkg/archive", module + "pkg/artifact"},
	"internal/serve/memory":    {"net/http", "os", module + "internal", module + "pkg/artifact"},
	"internal/serve/paths":     {"net/http", "os", module + "internal", module + "pkg/artifact"},
	"internal/serve/pages":     {"os", "log/slog", module + "internal/store", module + "pkg/artifact"},
	"internal/serve/prefetch":  {"net/http", "os", "log/slog", module + "pkg/artifact"},
	"internal/serve/metrics":   {"os", "log/slog", module + "internal/serve", module + "pkg"},
	"internal/aptmethod":       {oras, imageSpec, ggcr, "github.com/spf13", module + "internal/serve", module + "internal/host", module + "internal/config", module + "internal/freeze"},
	"internal/sources":         {"net/http", "os", module + "internal", module + "pkg/artifact"},
}

// except are packages that a rule of a package does not mean.
var except = map[string][]string{
	"pkg/artifact/layout": {module + "internal/durable"},
	"pkg/artifact/remote": {module + "internal/transfer"},
	"internal/upstream":   {module + "internal/transfer", module + "internal/durable"},
}

const (
	oras      = "oras.land"
	imageSpec = "github.com/opencontainers/image-spec"
	ggcr      = "github.com/google/go-containerregistry"
)

// onlyHere are imports that one package alone may have.
var onlyHere = map[string]string{
	oras: "pkg/artifact/remote",
}

func TestImports(t *testing.T) {
	root := ".."
	seen := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && p != root {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		seen++
		return checkImports(t, filepath.ToSlash(rel), p)
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d files were looked at", seen)
	}
	for pkg := range rules {
		if m, _ := filepath.Glob(filepath.Join(root, pkg, "*.go")); len(m) == 0 {
			t.Errorf("rule for %s, which is not there", pkg)
		}
	}
}

func checkImports(t *testing.T, rel, file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	pkg := path.Dir(rel)
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		for _, never := range rules[pkg] {
			if slices.Contains(except[pkg], name) {
				continue
			}
			if name == never || strings.HasPrefix(name, strings.TrimSuffix(never, "/")+"/") {
				t.Errorf("%s imports %s; %s must never", rel, name, pkg)
			}
		}
		// Commands share package command, and know nothing of each other.
		if verbs := "cmd/mmoci/internal/"; strings.HasPrefix(pkg, verbs) && strings.HasPrefix(name, module+verbs) && name != module+verbs+"command" {
			t.Errorf("%s imports %s; commands share %scommand alone", rel, name, verbs)
		}
		for prefix, home := range onlyHere {
			if strings.HasPrefix(name, prefix) && pkg != home && pkg != "scripts/bench" {
				t.Errorf("%s imports %s, which only %s may", rel, name, home)
			}
		}
	}
	return nil
}
