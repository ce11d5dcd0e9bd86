// Package onhost is the commands of a machine that takes packages: pull, install, host.
package onhost

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/snapshot"
)

// Pull writes a snapshot as a tree, or chosen packages as .debs.
func Pull(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var places command.PlaceFlags
	var x extractFlags
	var packages []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pull [REF [PREFIX[/GLOB]]..] {-o DIR | --extract PKG[=VERSION | /SUITE][,PKG..]}",
		Short: "Fetch the apt tree of a snapshot, or exactly the .debs that a package needs",
		Long: `With -o DIR alone: every file of the snapshot as an apt tree (DIR/PREFIX/dists, DIR/PREFIX/pool), proved through the chain;
apt reads it as it is (URIs: file:/DIR/PREFIX), or any web server serves it. DIR may hold the tree of an earlier pull: it becomes
the new one suite by suite, what the new one lacks stays until the one after it, and what changes never looks older than it was.
PREFIX after REF takes that archive alone, PREFIX/GLOB the plain files of it that the glob fits (a glob without a slash fits the
last part of a path, too), with their SHA256SUMS. DIR becomes what was asked for last.

With --extract: the named packages and what they need that the host does not have, for dpkg. One line is printed per call of
"dpkg -i", in an order in which they work; a dependency loop shares a line. What the host has is told by its dpkg status. PKG=VERSION and PKG/SUITE mean what they mean to
apt-get install; a suite is named by its directory or by the Suite or Codename of its Release.

A rerun resumes: what is there and verifies stays. A directory that holds anything else is refused, and nothing in it changed.`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	p.TrustFlags(f)
	places.Flags(f)
	x.flags(f)
	f.StringSliceVar(&packages, "extract", nil, "packages to extract with what they need: `PKG[=VERSION | /SUITE]`,..")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.Events = asJSON
		if len(packages) == 0 && x.dir == "" {
			return fmt.Errorf("%w: say where to: -o DIR, or what: --extract PKG", outcome.ErrUsage)
		}
		var only []string
		if len(args) > 1 {
			args, only = args[:1], args[1:]
		}
		if len(only) > 0 && len(packages) > 0 {
			return fmt.Errorf("%w: --extract takes packages of all archives: leave %s out", outcome.ErrUsage, strings.Join(only, " "))
		}
		bar := a.Progress()
		defer bar.End()
		if len(packages) > 0 {
			x.own = ownArchitecture(cmd.Context())
		}
		s, trust, err := a.Open(cmd, &p, &places, args)
		if err != nil {
			return err
		}
		if len(packages) > 0 {
			return extractPackages(a, cmd, s, trust, packages, x)
		}
		start := time.Now()
		res, err := extract.Tree(cmd.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: x.dir, Only: only, Log: a.Log, Progress: bar.Event})
		bar.End()
		if err != nil {
			return err
		}
		if asJSON {
			return a.PrintJSON(pullJSON{Snapshot: s.Root.String(), Directory: x.dir, Files: res.Files, Bytes: res.Bytes, ReusedBytes: res.Reused})
		}
		a.Log("%s, %s%s in %s, %.1f s", terminal.Count(res.Files, "file"), terminal.Size(res.Bytes), command.Reused(res.Reused), x.dir, time.Since(start).Seconds())
		if res.Replaced+res.Left+res.Removed > 0 {
			a.Log("files of the tree that was there: %d were replaced, %d that this snapshot lacks stay until the next one, %d that the last one lacked were removed", res.Replaced, res.Left, res.Removed)
		}
		fmt.Fprintln(a.Stdout, x.dir)
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

func extractPackages(a *command.App, cmd *cobra.Command, s *snapshot.Snapshot, trust prove.Trust, queries []string, x extractFlags) error {
	q := extract.Options{
		Snapshot: s, Trust: trust, Queries: queries, Dir: x.dir, Architecture: x.arch,
		Recommends: x.recommends, Log: a.Log, Progress: a.Bar.Event,
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
		a.Log("host status: none (this host is of %s, the packages are for %s; --host-status FILE names theirs)", own, q.Architecture)
	}
	var err error
	if q.Host, err = host.Packages(x.status, h, a.Log); err != nil {
		return err
	}
	start := time.Now()
	res, err := extract.Run(cmd.Context(), q)
	a.Bar.End()
	if err != nil {
		return err
	}
	if a.Events {
		return a.PrintJSON(pullJSON{
			Snapshot: s.Root.String(), Directory: q.Dir, Files: len(res.Chosen.Packages), Bytes: res.Bytes, ReusedBytes: res.Reused, Calls: res.Groups,
		})
	}
	a.Log("%s, %s%s in %s, %.1f s", terminal.Count(len(res.Chosen.Packages), "package"), terminal.Size(res.Bytes), command.Reused(res.Reused), q.Dir, time.Since(start).Seconds())
	for _, g := range res.Groups {
		fmt.Fprintln(a.Stdout, strings.Join(g, " "))
	}
	return nil
}

// ownArchitecture asks dpkg for the architecture of this machine, while something else goes on.
func ownArchitecture(ctx context.Context) <-chan string {
	own := make(chan string, 1)
	go func() { own <- host.OwnArchitecture(ctx) }()
	return own
}
