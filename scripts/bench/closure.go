package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

// closure computes what docker.io needs from real index files, whole process
// against whole process.
func (b *bench) closure(ctx context.Context) error {
	if b.real == "" {
		return fmt.Errorf("needs a real upstream (-real)")
	}
	indices, err := filepath.Glob(filepath.Join(b.real, ".apt/own/lists/*_Packages"))
	if err != nil {
		return err
	}
	if len(indices) == 0 {
		return fmt.Errorf("no Packages below %s", b.real)
	}
	slices.Sort(indices)
	wall := b.table.figure(figure{name: "closure of docker.io from index files, whole process", unit: millis, bar: 0.4, with: "apt-get -s install without its caches"})
	peak := b.table.figure(figure{name: "closure: peak memory", unit: mebi, bar: 1.5, with: "apt-get"})
	var ours, theirs []cost
	var got, wanted string
	err = b.inTurn(func(int) error {
		took, out, err := command{args: append([]string{b.self, "closure", "1"}, indices...)}.run(ctx)
		ours, got = append(ours, took), string(out)
		return err
	}, func(int) error {
		took, out, err := command{env: []string{"APT_CONFIG=" + filepath.Join(b.real, ".apt/own.conf"), "LC_ALL=C"},
			args: []string{"apt-get", "-s", "--no-install-recommends", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Debug::NoLocking=true", "install", "docker.io"}}.run(ctx)
		theirs, wanted = append(theirs, took), string(out)
		return err
	})
	if err != nil {
		return err
	}
	if a, b := strings.Count(got, "\n"), strings.Count(wanted, "\nInst "); a != b {
		return fmt.Errorf("closures differ: %d packages, apt has %d", a, b)
	}
	for i := range ours {
		wall.pair(inMillis(ours[i].wall), inMillis(theirs[i].wall))
		peak.pair(inMebi(ours[i].peak), inMebi(theirs[i].peak))
	}
	each := b.table.figure(figure{name: "300 closures in one process, each", unit: millis, most: 10})
	slowest := b.table.figure(figure{name: "the slowest of 300 closures, processor time", unit: millis, most: 10})
	for range b.pairs {
		_, out, err := command{args: append([]string{b.self, "closure", "300"}, indices...)}.run(ctx)
		if err != nil {
			return err
		}
		var mean, most float64
		if _, err := fmt.Sscan(string(out), &mean, &most); err != nil {
			return err
		}
		each.alone(mean)
		slowest.alone(most)
	}
	return nil
}

// partClosure: N PACKAGES..: with 1 prints docker.io's closure; with more
// computes that many of other packages and prints the milliseconds of each, as
// mean, and the processor time of the slowest; to standard error the slowest five by name.
func partClosure(_ context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var indices []resolve.Index
	for _, name := range args[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		indices = append(indices, resolve.Index{Archive: "debian", Suite: filepath.Base(name), Component: "main", Architecture: "amd64", Path: name, Data: data})
	}
	u, err := resolve.NewUniverse(indices)
	if err != nil {
		return err
	}
	if n == 1 {
		res, err := closureOf(u, "docker.io")
		if err != nil {
			return err
		}
		for _, p := range res.Packages {
			fmt.Println(p.Name, p.Version, p.Architecture)
		}
		return nil
	}
	names, err := someNames(indices, n)
	if err != nil {
		return err
	}
	began := time.Now()
	took := make([]closureTime, len(names))
	for i, name := range names {
		before := processorTime()
		if _, err := closureOf(u, name); err != nil && !strings.Contains(err.Error(), name) {
			return err
		}
		took[i] = closureTime{name, inMillis(processorTime() - before)}
	}
	mean := inMillis(time.Since(began)) / float64(len(names))
	slices.SortStableFunc(took, func(a, b closureTime) int { return cmp.Compare(b.millis, a.millis) })
	for _, t := range took[:min(5, len(took))] {
		fmt.Fprintf(os.Stderr, "%6.2f ms %s\n", t.millis, t.name)
	}
	fmt.Println(mean, took[0].millis)
	return nil
}

// closureTime is what a closure took of the processors.
type closureTime struct {
	name   string
	millis float64
}

// processorTime is what this process has used so far, the collector included.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // it knows no other argument
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func closureOf(u *resolve.Universe, name string) (*resolve.Result, error) {
	q, err := query.Parse(name)
	if err != nil {
		return nil, err
	}
	return u.Resolve(resolve.Request{Roots: []resolve.Root{{Query: q}}, Architectures: []string{"amd64"}, Host: &resolve.Host{}})
}

// someNames draws package names over all indices, always the same ones.
func someNames(indices []resolve.Index, n int) ([]string, error) {
	var all []string
	for _, ix := range indices {
		for st, err := range deb.Stanzas(ix.Data) {
			if err != nil {
				return nil, err
			}
			all = append(all, st.Get("Package"))
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	out := make([]string, n)
	for i := range out {
		out[i] = all[r.IntN(len(all))]
	}
	return out, nil
}

// memory plans docker.io's closure of whole real releases of two architectures: what
// a push takes while it reads and chooses, before any file goes over the line.
func (b *bench) memory(ctx context.Context) error {
	if b.indices == "" {
		return fmt.Errorf("needs real indices (-indices)")
	}
	top, err := fresh(filepath.Join(b.disk, "memory"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	if err := b.site(top, top, "oci:layout:bench", "none"); err != nil {
		return err
	}
	for _, of := range []struct {
		suite, name string
		most        float64
	}{{"trixie", "trixie with updates and security", 128}, {"sid", "sid with sources", 160}} {
		archives, err := os.ReadFile(filepath.Join(b.indices, of.suite+".yaml"))
		if err != nil {
			return err
		}
		config := filepath.Join(top, of.suite+".yaml")
		if err := os.WriteFile(config, append([]byte("sign: {key: keys/site.asc}\n"), archives...), 0o644); err != nil {
			return err
		}
		name := "plan of docker.io from " + of.name + ", two architectures"
		wall := b.table.figure(figure{name: name, unit: seconds})
		peak := b.table.figure(figure{name: name + ": peak memory", unit: mebi, most: of.most})
		for range b.pairs {
			took, _, err := command{dir: top, env: []string{"XDG_STATE_HOME=" + filepath.Join(top, "state")},
				args: []string{b.mmoci, "push", "-q", "--plan", "-f", config, "oci:layout:bench"}}.run(ctx)
			if err != nil {
				return err
			}
			wall.alone(inSeconds(took.wall))
			peak.alone(inMebi(took.peak))
		}
	}
	return nil
}
