package onhost

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// installOptions are the flags of install.
type installOptions struct {
	refs, packages []string
	dir, root      string
	recommends     bool
	dryRun         bool
}

// Install extracts packages and hands them to dpkg.
func Install(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var places command.PlaceFlags
	var q installOptions
	var ref string
	cmd := &cobra.Command{
		Use:   "install PKG[=VERSION | /SUITE]..",
		Short: "Extract packages with what they need and hand them to dpkg",
		Long: `Resolves the packages over the proven indices and this host's dpkg status, fetches exactly the .debs that are missing, verifies
each down to its control file, and hands them to dpkg: what others Pre-Depend on is configured first, dependency loops go together.
Nothing that works is broken for it: no package is removed, held ones stay, and what cannot be met is refused (exit code 4)
before anything is fetched; so is what does not go with a package that is half-installed or not configured. Packages that are there
already are left as they are; with all of them there, there is nothing to do. Of a call that dpkg does not finish (a full disk), what was
not there before and cannot work is taken back.

Nobody is asked anything: debconf takes its defaults (DEBIAN_FRONTEND=noninteractive), and a conffile that was changed on this host
stays as it is, as apt-get -y does with -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold.

dpkg's output goes to stderr, what came true to stdout, one line a package. If dpkg fails, the exit code is 1: mend what it names,
run "dpkg --configure -a", and the same command again. While it works, apt and dpkg are locked out as apt does it.`,
		Args: cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	p.TrustFlags(f)
	places.Flags(f)
	f.StringVar(&ref, "ref", "", "reference (default: ref: of the configuration)")
	f.StringVarP(&q.dir, "output", "o", "", "keep the .debs in `DIR` (default: under /var/cache/mmoci, until dpkg has them)")
	f.StringVar(&q.root, "root", "", "install into the root file system `DIR` (dpkg --root)")
	f.BoolVar(&q.recommends, "recommends", false, "take Recommends into the closure")
	f.BoolVar(&q.dryRun, "dry-run", false, "say what would be installed, change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if q.packages = args; ref != "" {
			q.refs = []string{ref}
		}
		return runInstall(a, cmd, &p, &places, q)
	}
	return cmd
}

func runInstall(a *command.App, cmd *cobra.Command, p *command.PlanFlags, places *command.PlaceFlags, q installOptions) error {
	h, err := hostAt(a, q.root)
	if err != nil && !q.dryRun {
		return err
	}
	if q.dryRun {
		err = h.Settled()
	} else {
		var end func()
		if end, err = h.Begin(cmd.Context()); err == nil {
			defer end()
		}
	}
	if err != nil {
		return err
	}
	status, err := host.Packages("", h, a.Log)
	if err != nil {
		return err
	}
	if status == nil {
		return fmt.Errorf("%w: %s is not there: no dpkg to install with; mmoci pull --extract leaves the .debs to other means", outcome.ErrUsage, h.StatusFile())
	}
	bar := a.Progress()
	defer bar.End()
	s, trust, err := a.Open(cmd, p, places, q.refs)
	if err != nil {
		return err
	}
	arch := h.Architecture(cmd.Context())
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if arch == "" {
		return fmt.Errorf("%w: no dpkg in PATH to install with; mmoci pull --extract leaves the .debs to other means", outcome.ErrUsage)
	}
	chosen, err := extract.Choose(cmd.Context(), extract.Options{
		Snapshot: s, Trust: trust, Queries: q.packages, Architecture: arch, Recommends: q.recommends, Host: status, Log: a.Log, Progress: bar.Event,
	})
	if err != nil {
		return err
	}
	if len(chosen.Chosen.Packages) == 0 {
		a.Log("nothing to do: %s is there, with what it needs", strings.Join(q.packages, ", "))
		if q.dryRun || q.dir != "" {
			return nil
		}
		return h.ClearDebs() // of a run that was killed after dpkg was done
	}
	var stanzas []deb.Stanza
	for _, c := range chosen.Chosen.Packages {
		stanzas = append(stanzas, c.Stanza)
	}
	if err := h.Conflicts(stanzas); err != nil {
		return fmt.Errorf("%w: %w", resolve.ErrUnsatisfied, err)
	}
	return fetchAndInstall(cmd.Context(), a, h, chosen, status, q)
}

// fetchAndInstall fetches what was chosen and gives it to dpkg.
func fetchAndInstall(ctx context.Context, a *command.App, h *host.Host, chosen *extract.Selection, status *resolve.Host, q installOptions) error {
	a.Log("%s, %s to fetch", terminal.Count(len(chosen.Chosen.Packages), "package"), terminal.Size(chosen.Bytes))
	if q.dryRun {
		a.Bar.End()
		for _, g := range chosen.Groups() {
			for _, p := range g {
				fmt.Fprintf(a.Stdout, "would install %s %s %s\n", p.Name, p.Version, p.Architecture)
			}
		}
		return nil
	}
	changes, err := h.InstallSelection(ctx, chosen, status, q.dir, func(dir string, got *extract.Result) {
		a.Bar.End() // the rest of the screen is dpkg's
		a.Detail("fetched to %s: %s%s", dir, terminal.Size(got.Bytes), command.Reused(got.Reused))
	})
	a.Bar.End()
	for _, c := range changes {
		fmt.Fprintln(a.Stdout, c)
	}
	if err != nil {
		return err
	}
	if len(changes) == 1 {
		a.Log("1 package is installed and configured")
	} else {
		a.Log("%d packages are installed and configured", len(changes))
	}
	return nil
}
