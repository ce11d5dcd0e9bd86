// Command bench measures mmoci against peers in one run, in turn, and prints
// medians and ratios of pairs. scripts/bench.sh runs it and says what it needs.
// Everything listens on loopback and ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is one of the parts that this program starts of itself, or the whole.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		parts := map[string]func(context.Context, []string) error{
			"generate": partGenerate, "oras-copy": partOrasCopy, "oras-pack": partOrasPack, "oras-push": partOrasPush, "oras-stock": partOrasStock, "closure": partClosure, "open": partOpen, "clients": partClients,
			"release": partRelease, "fake-build": partFakeBuild,
		}
		if part := parts[args[0]]; part != nil {
			return part(ctx, args[1:])
		}
	}
	b := &bench{}
	var rows string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&b.mmoci, "mmoci", "", "the program")
	f.StringVar(&b.tmp, "tmp", "", "scratch directory in memory")
	f.StringVar(&b.disk, "disk", "", "scratch directory on disk")
	f.StringVar(&b.real, "real", "", "what real-upstream.sh laid out")
	f.StringVar(&b.indices, "indices", "", "what real-indices.sh laid out")
	f.StringVar(&b.sources, "sources", "", "what real-sources.sh laid out")
	f.IntVar(&b.pairs, "pairs", 9, "pairs of a figure")
	f.Float64Var(&b.scale, "scale", 1, "size of the archives, as a share of the full one")
	f.StringVar(&rows, "rows", "", "groups of rows, by comma; empty: all")
	if err := f.Parse(args); err != nil {
		return err
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	return b.run(ctx, rows)
}

// bench is one run.
type bench struct {
	mmoci, self     string
	tmp, disk, real string
	indices         string
	sources         string
	pairs           int
	scale           float64
	table           table
}

// group is a set of rows that share their preparation.
type group struct {
	name string
	run  func(context.Context) error
}

func (b *bench) groups() []group {
	return []group{
		{"daily", func(ctx context.Context) error { return b.daily(ctx, "in memory", b.tmp) }},
		{"disk", func(ctx context.Context) error { return b.daily(ctx, "on disk, synced", b.disk) }},
		{"registry", b.registry},
		{"scale", b.scaled},
		{"static", b.static},
		{"closure", b.closure},
		{"memory", b.memory},
		{"extract", b.extract},
		{"image", b.image},
		{"image-scripts", b.imageScripts},
		{"image-changed", b.imageChanged},
		{"sources", b.sourceRows},
		{"serve", b.serve},
		{"front", b.front},
		{"pages", b.pages},
		{"rpm", b.rpm},
	}
}

func (b *bench) run(ctx context.Context, rows string) error {
	var errs []error
	for _, g := range b.groups() {
		if rows != "" && !slices.Contains(strings.Split(rows, ","), g.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", g.name)
		if err := g.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Print(b.table.markdown())
	return errors.Join(append(errs, b.table.faults())...)
}

// size scales a number of packages.
func (b *bench) size(n int) int { return max(20, int(float64(n)*b.scale)) }

// inTurn calls the two sides of n pairs, each first every other time.
func (b *bench) inTurn(ours, peer func(i int) error) error {
	for i := range b.pairs {
		first, second := ours, peer
		if i%2 == 1 {
			first, second = peer, ours
		}
		if err := first(i); err != nil {
			return err
		}
		if err := second(i); err != nil {
			return err
		}
	}
	return nil
}

// generate runs in a process of its own, so that this one stays small.
func (b *bench) generate(ctx context.Context, g generated, dir string, day int) error {
	_, _, err := command{args: []string{b.self, "generate", "-dir", dir, "-packages", fmt.Sprint(g.packages),
		"-bytes", fmt.Sprint(g.bytes), "-changed", fmt.Sprint(g.changed), "-suite", g.suite, "-day", fmt.Sprint(day)}}.run(ctx)
	return err
}

func partGenerate(_ context.Context, args []string) error {
	var g generated
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	dir := f.String("dir", "", "where")
	day := f.Int("day", 0, "which day")
	f.IntVar(&g.packages, "packages", 1000, "number")
	f.Int64Var(&g.bytes, "bytes", 20e6, "of all .debs")
	f.Float64Var(&g.changed, "changed", 0.01, "share of sources a day")
	f.StringVar(&g.suite, "suite", "bookworm", "name")
	if err := f.Parse(args); err != nil {
		return err
	}
	return g.write(*dir, *day)
}

// fresh makes an empty directory.
func fresh(dir string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// site writes keys and an mmoci.yaml of one archive, all of it.
func (b *bench) site(dir, url, ref, packages string) error {
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, "keys/site.asc")); err != nil {
		cmd := exec.Command(b.mmoci, "key", "new", "-q", "-o", filepath.Join(dir, "keys/site.asc"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("key new: %w: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "keys/archive.asc"), archiveKey().Public(), 0o644); err != nil {
		return err
	}
	text := fmt.Sprintf(`ref: %s
sign: {key: keys/site.asc}
trust: [keys/site.pub.asc]
archives:
- prefix: bench
  mode: curated
  url: %s
  suites: [bookworm]
  components: [main]
  architectures: [amd64]
  signed-by: keys/archive.asc
  packages: %s
`, ref, url, packages)
	return os.WriteFile(filepath.Join(dir, "mmoci.yaml"), []byte(text), 0o644)
}
