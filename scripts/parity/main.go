// Command parity compares the closures of pkg/resolve with those of apt. It is
// run by scripts/parity.sh, which says what it does.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/query"
)

func main() {
	var p parity
	flag.StringVar(&p.work, "work", "", "scratch directory; indices/ in it holds the Packages files")
	flag.StringVar(&p.status, "status", "", "dpkg status file")
	flag.Uint64Var(&p.seed, "seed", 1, "which packages are drawn")
	flag.IntVar(&p.count, "count", 100, "how many")
	flag.Float64Var(&p.share, "share", 97, "least share of equal sets, per cent")
	flag.IntVar(&p.security, "security", 0, "how many of them at least are drawn from a security suite")
	flag.IntVar(&p.groups, "groups", 0, "how many questions that contradict themselves")
	flag.BoolVar(&p.verbose, "v", false, "print every difference in full")
	flag.Parse()
	ok, err := p.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// parity is one comparison.
type parity struct {
	work, status string
	seed         uint64
	count        int
	security     int
	groups       int
	share        float64
	verbose      bool

	arch     string
	indices  []resolve.Index
	first    *resolve.Universe
	second   *resolve.Universe // built anew: must answer the same
	host     *resolve.Host
	hostText []byte
	apt      *apt
	dose     dose
}

// verdict is the outcome for one package.
type verdict struct {
	name              string
	err               error // ours
	aptError          string
	refused           string // by apt, the closure alone
	uninstallable     string // for dose-debcheck, with what was there
	differs           bool   // from run to run
	broken            string // of the host
	onlyApt, onlyOurs []string
	why               map[string]string // reasons of ours
	size              int
	secure            bool   // a security suite has it
	otherVersion      string // of a package that both take: ours, apt's
	siblings          bool   // all of onlyApt are upgrades of what is installed
}

func (p *parity) run() (bool, error) {
	if err := p.load(); err != nil {
		return false, err
	}
	names := p.draw()
	verdicts := make([]verdict, len(names))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				verdicts[i] = p.compare(names[i], i)
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	wg.Wait()
	ok := p.report(verdicts)
	if p.groups > 0 && p.host == nil {
		quarrels := p.quarrels(p.groups)
		for i := range quarrels {
			p.judge(&quarrels[i], i)
		}
		ok = reportGroups(quarrels, p.seed) && ok
	}
	return ok, nil
}

// load reads the indices twice and prepares apt.
func (p *parity) load() (err error) {
	files, err := filepath.Glob(filepath.Join(p.work, "indices", "*"))
	if err != nil || len(files) == 0 {
		return cmp.Or(err, fmt.Errorf("no indices in %s", p.work))
	}
	slices.Sort(files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		name := filepath.Base(f)
		archive, suite, _ := strings.Cut(name, "_dists_")
		_, arch, _ := strings.Cut(name, "_binary-")
		if p.arch == "" {
			p.arch = arch
		}
		p.indices = append(p.indices, resolve.Index{Archive: archive, Suite: suite, Architecture: arch, Path: name, Data: data})
	}
	if p.first, err = resolve.NewUniverse(p.indices); err != nil {
		return err
	}
	if p.second, err = resolve.NewUniverse(p.indices); err != nil {
		return err
	}
	if p.status != "" {
		if p.hostText, err = os.ReadFile(p.status); err != nil {
			return err
		}
		if p.host, err = resolve.ParseStatus(p.hostText); err != nil {
			return err
		}
	}
	p.dose = dose{p.work, p.arch}
	if p.host != nil {
		if why := p.dose.refuses(0, p.afterwards(nil)); why != "" {
			return fmt.Errorf("%s is broken before anything is installed: %s", p.status, why)
		}
	}
	p.apt, err = newApt(p.work, p.arch, p.hostText, files)
	return err
}

// draw picks packages, going round all sections: first those of the security suites, then of all.
func (p *parity) draw() []string {
	rng := rand.New(rand.NewPCG(p.seed, 0))
	isSecurity := func(c *resolve.Package) bool { return strings.Contains(c.Suite, "security") }
	names := p.drawFrom(rng, p.security, nil, isSecurity)
	return p.drawFrom(rng, p.count, names, func(*resolve.Package) bool { return true })
}

// drawFrom adds packages that are on offer and not installed until there are count names.
func (p *parity) drawFrom(rng *rand.Rand, count int, names []string, wanted func(*resolve.Package) bool) []string {
	q, err := query.Parse("Section")
	if err != nil {
		panic(err)
	}
	sections, seen := map[string][]string{}, map[string]bool{}
	for _, name := range names {
		seen[name] = true
	}
	for _, c := range p.first.Matches(q, "") {
		if !wanted(c) || seen[c.Name] || p.host != nil && p.host.Installed(c.Name, "") != "" {
			continue
		}
		seen[c.Name] = true
		s := c.Stanza.Get("Section")
		sections[s] = append(sections[s], c.Name)
	}
	order := slices.Sorted(maps.Keys(sections))
	for len(names) < count && len(order) > 0 {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, s := range order {
			i := rng.IntN(len(sections[s]))
			names = append(names, sections[s][i])
			sections[s] = slices.Delete(sections[s], i, i+1)
		}
		order = slices.DeleteFunc(order, func(s string) bool { return len(sections[s]) == 0 })
	}
	return names[:min(count, len(names))]
}

// inSecurity tells whether a security suite has a package of the name.
func (p *parity) inSecurity(name string) bool {
	return slices.ContainsFunc(p.first.Versions(name), func(c *resolve.Package) bool { return strings.Contains(c.Suite, "security") })
}

func (p *parity) resolve(u *resolve.Universe, name string) (*resolve.Result, error) {
	q, err := query.Parse(name)
	if err != nil {
		return nil, err
	}
	return u.Resolve(resolve.Request{Roots: []resolve.Root{{Query: q}}, Architectures: []string{p.arch}, Host: p.host})
}

// compare judges one package.
func (p *parity) compare(name string, slot int) verdict {
	v := verdict{name: name, why: map[string]string{}}
	res, err := p.resolve(p.first, name)
	again, err2 := p.resolve(p.second, name)
	v.differs = !same(res, again) || fmt.Sprint(err) != fmt.Sprint(err2)
	theirs, output, err3 := p.apt.install(name)
	if err3 != nil {
		v.aptError = output
	}
	if err != nil {
		v.err = err
		return v
	}
	ours := map[string]bool{}
	for _, c := range res.Packages {
		key := c.Name + " " + c.Version
		ours[key] = true
		v.why[key] = c.Reason.String()
		if !theirs[key] {
			v.onlyOurs = append(v.onlyOurs, key)
		}
	}
	v.size = len(ours)
	v.secure = p.inSecurity(name)
	v.otherVersion = otherVersion(ours, theirs)
	if _, asked := versions(ours)[name]; err3 == nil && !asked {
		v.otherVersion = name + " is not in the closure of itself"
	}
	for _, key := range slices.Sorted(maps.Keys(theirs)) {
		if !ours[key] {
			v.onlyApt = append(v.onlyApt, key)
		}
	}
	v.siblings = p.host != nil && !slices.ContainsFunc(v.onlyApt, func(key string) bool {
		name, _, _ := strings.Cut(key, " ")
		return p.host.Installed(name, "") == ""
	})
	v.refused, v.broken = p.apt.accepts(name, slot, res, ours)
	v.uninstallable = p.dose.refuses(slot, p.afterwards(res))
	return v
}

// versions are the versions of "NAME VERSION", by name.
func versions(set map[string]bool) map[string]string {
	of := map[string]string{}
	for key := range set {
		name, version, _ := strings.Cut(key, " ")
		of[name] = version
	}
	return of
}

// otherVersion names a package that both sides install in two versions.
func otherVersion(ours, theirs map[string]bool) string {
	mine, apts := versions(ours), versions(theirs)
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		if v, both := apts[name]; both && v != mine[name] {
			return fmt.Sprintf("%s %s, apt takes %s", name, mine[name], v)
		}
	}
	return ""
}

// same compares two answers, reasons included.
func same(a, b *resolve.Result) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.Packages, b.Packages, func(x, y resolve.Chosen) bool {
		return x.PackageFile == y.PackageFile && x.Index == y.Index && x.Reason.String() == y.Reason.String()
	})
}
