package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func (a *app) pull() *cobra.Command {
	var p planFlags
	var places placeFlags
	var x extractFlags
	var packages []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pull [REF] {-o DIR | --extract PKG[=VERSION | /SUITE][,PKG..]}",
		Short: "Fetch the apt tree of a snapshot, or exactly the .debs that a package needs",
		Long: `With -o DIR alone: every file of the snapshot as an apt tree (DIR/PREFIX/dists, DIR/PREFIX/pool), proved through the chain;
apt reads it as it is (URIs: file:/DIR/PREFIX), or any web server serves it. DIR may hold the tree of an earlier pull: it becomes
the new one suite by suite, what the new one lacks stays until the one after it, and what changes never looks older than it was.

With --extract: the named packages and what they need that the host does not have, for dpkg. One line is printed per call of
"dpkg -i", in an order in which they work; a dependency loop shares a line. What the host has is told by its dpkg status. PKG=VERSION and PKG/SUITE mean what they mean to
apt-get install; a suite is named by its directory or by the Suite or Codename of its Release.

A rerun resumes: what is there and verifies stays. A directory that holds anything else is refused, and nothing in it changed.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.trustFlags(f)
	places.flags(f)
	x.flags(f)
	f.StringSliceVar(&packages, "extract", nil, "packages to extract with what they need: `PKG[=VERSION | /SUITE]`,..")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.events = asJSON
		if len(packages) == 0 && x.dir == "" {
			return fmt.Errorf("%w: say where to: -o DIR, or what: --extract PKG", outcome.ErrUsage)
		}
		bar := a.progress()
		defer bar.End()
		if len(packages) > 0 {
			x.own = ownArchitecture(cmd.Context())
		}
		s, trust, err := a.open(cmd, &p, &places, args)
		if err != nil {
			return err
		}
		if len(packages) > 0 {
			return a.extract(cmd, s, trust, packages, x)
		}
		start := time.Now()
		res, err := extract.Tree(cmd.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: x.dir, Log: a.log, Progress: bar.Event})
		bar.End()
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(pullJSON{Snapshot: s.Root.String(), Directory: x.dir, Files: res.Files, Bytes: res.Bytes, ReusedBytes: res.Reused})
		}
		a.log("%s, %s%s in %s, %.1f s", terminal.Count(res.Files, "file"), terminal.Size(res.Bytes), reused(res.Reused), x.dir, time.Since(start).Seconds())
		if res.Replaced+res.Left+res.Removed > 0 {
			a.log("files of the tree that was there: %d were replaced, %d that this snapshot lacks stay until the next one, %d that the last one lacked were removed", res.Replaced, res.Left, res.Removed)
		}
		fmt.Fprintln(a.stdout, x.dir)
		return nil
	}
	return cmd
}

// pullJSON is what pull --json prints.
type pullJSON struct {
	Snapshot    string     `json:"snapshot"` // digest
	Directory   string     `json:"directory"`
	Files       int        `json:"files"`
	Bytes       int64      `json:"bytes"`
	ReusedBytes int64      `json:"reusedBytes"`
	Calls       [][]string `json:"calls,omitempty"` // of dpkg -i, in order; of --extract
}

// placeFlags are where a snapshot is read beside its own place.
type placeFlags struct{ mirrors []string }

func (p *placeFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.mirrors, "via", nil, "`REF` of a place to try first, asked by digest (repeatable, in order)")
}

func (p *placeFlags) references() ([]artifact.Reference, error) {
	var out []artifact.Reference
	for _, m := range p.mirrors {
		ref, err := artifact.ParseReference(m)
		if err != nil {
			return nil, fmt.Errorf("--via: %w", err)
		}
		out = append(out, ref)
	}
	return out, nil
}

// open opens the snapshot that a reader works on and says how it is believed.
// While there is a progress line it hears of every byte.
func (a *app) open(cmd *cobra.Command, p *planFlags, places *placeFlags, args []string) (*snapshot.Snapshot, prove.Trust, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, prove.Trust{}, err
	}
	ref, err := reference(args, plan)
	if err != nil {
		return nil, prove.Trust{}, err
	}
	mirrors, err := places.references()
	if err != nil {
		return nil, prove.Trust{}, err
	}
	// The place is asked while the keyrings are read. An error of these is returned without waiting for the place.
	type opening struct {
		*snapshot.Sealed
		err error
	}
	asked := make(chan opening, 1)
	go func() {
		sealed, err := place.OpenAnywhere(cmd.Context(), ref, mirrors, a.options(), a.log)
		asked <- opening{sealed, err}
	}()
	trust, err := p.trust(plan)
	if err != nil {
		return nil, trust, err
	}
	opened := <-asked
	if opened.err != nil {
		return nil, trust, opened.err
	}
	sealed := opened.Sealed
	if trust.Memory, err = a.memory(); err != nil {
		return nil, trust, err
	}
	if a.bar != nil {
		sealed.Blobs = artifact.Watched(sealed.Blobs, a.bar.Event)
	}
	s, err := trust.Believe(ref, sealed)
	if err != nil {
		return nil, trust, err
	}
	date := s.Statement.Date
	a.detail("%s: %s, snapshot of %s, %s", ref, s.Root, date.Format(time.RFC3339), howVerified(s))
	if s.Statement.How.Kind == 0 {
		a.log("%s", setUnproved(s, trust))
	}
	if date.After(trust.Now) {
		a.log("the clock of this host is at %s, the snapshot is of %s: apt will refuse it until the clock is set", trust.Now.UTC().Format(time.RFC3339), date.Format(time.RFC3339))
	}
	return s, trust, nil
}

// memory returns where the statements seen are remembered; nil if there is no
// place for it. A place that others can write is an error, because they could change it.
func (a *app) memory() (*prove.Memory, error) {
	dir, err := state.HostDir("statements")
	if errors.Is(err, state.ErrForeign) {
		return nil, err
	}
	if err != nil {
		a.detail("statements seen are not remembered: %s", err)
		return nil, nil
	}
	return &prove.Memory{Dir: dir, Log: a.detail}, nil
}

// setUnproved says what is not proved of a snapshot that neither the site's key nor a digest vouches for.
func setUnproved(s *snapshot.Snapshot, trust prove.Trust) string {
	text := "the set is not proved: neither the site's key (trust: in mmoci.yaml, or --keyring FILE) nor a digest vouches for it, so the place may leave packages or archives out, or give older ones"
	var keys []string
	for _, ar := range s.Statement.Archives {
		if trust.Upstream[ar.Prefix] != nil {
			keys = append(keys, ar.Prefix)
		}
	}
	if len(keys) == 0 {
		return text + "; nor is anything in it"
	}
	return text + "; each file of " + strings.Join(keys, ", ") + " is proved by upstream's key"
}

func howVerified(s *snapshot.Snapshot) string {
	how := s.Statement.How
	switch {
	case how.Signer != "":
		return "signed by " + how.Signer
	case how.Kind != 0:
		return "pinned by digest"
	}
	return "not signed by a key that is given"
}

// extractFlags say for which machine packages are extracted, and where to.
type extractFlags struct {
	dir, arch, status string
	recommends        bool
	own               <-chan string // this machine's architecture
}

func (x *extractFlags) flags(f *pflag.FlagSet) {
	f.StringVarP(&x.dir, "output", "o", "", "output `DIR` (with --extract: ./mmoci-debs)")
	f.StringVar(&x.arch, "arch", "", "architecture of the machine that they are for (default: this one's)")
	f.StringVar(&x.status, "host-status", "", "dpkg status `FILE` of that machine, or none (default: this host's)")
	f.BoolVar(&x.recommends, "recommends", false, "take Recommends into the closure")
}

func (a *app) extract(cmd *cobra.Command, s *snapshot.Snapshot, trust prove.Trust, queries []string, x extractFlags) error {
	q := extract.Options{
		Snapshot: s, Trust: trust, Queries: queries, Dir: x.dir, Architecture: x.arch,
		Recommends: x.recommends, Log: a.log, Progress: a.bar.Event,
	}
	if q.Dir == "" {
		q.Dir = "mmoci-debs"
	}
	h := &host.Host{}
	own := <-x.own
	if q.Architecture == "" {
		q.Architecture = own
	}
	if x.status == "" && q.Architecture != own {
		x.status = "none"
		a.log("host status: none (this host is of %s, the packages are for %s; --host-status FILE names theirs)", own, q.Architecture)
	}
	var err error
	if q.Host, err = host.Packages(x.status, h, a.log); err != nil {
		return err
	}
	start := time.Now()
	res, err := extract.Run(cmd.Context(), q)
	a.bar.End()
	if err != nil {
		return err
	}
	if a.events {
		return a.printJSON(pullJSON{
			Snapshot: s.Root.String(), Directory: q.Dir, Files: len(res.Chosen.Packages), Bytes: res.Bytes, ReusedBytes: res.Reused, Calls: res.Groups,
		})
	}
	a.log("%s, %s%s in %s, %.1f s", terminal.Count(len(res.Chosen.Packages), "package"), terminal.Size(res.Bytes), reused(res.Reused), q.Dir, time.Since(start).Seconds())
	for _, g := range res.Groups {
		fmt.Fprintln(a.stdout, strings.Join(g, " "))
	}
	return nil
}

// ownArchitecture asks dpkg for the architecture of this machine, while something else goes on.
func ownArchitecture(ctx context.Context) <-chan string {
	own := make(chan string, 1)
	go func() { own <- host.OwnArchitecture(ctx) }()
	return own
}
