package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

// extractFlags are shared by pull --extract and install.
type extractFlags struct {
	dir, arch, status string
	recommends        bool
}

func (a *app) pull() *cobra.Command {
	var p planFlags
	var x extractFlags
	var extract []string
	var install bool
	cmd := &cobra.Command{
		Use:   "pull [REF] {-o DIR | --extract PKG[=VERSION][,PKG..]}",
		Short: "Fetch the apt tree of a snapshot, or exactly the .debs that a package needs",
		Args:  cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.trustFlags(f)
	x.flags(f.StringVarP, f.StringVar)
	f.StringSliceVar(&extract, "extract", nil, "packages to extract with what they need: `PKG[=VERSION]`,..")
	f.BoolVar(&x.recommends, "recommends", false, "take Recommends into the closure")
	f.BoolVar(&install, "install", false, "hand the packages to dpkg")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, trust, err := a.open(cmd, &p, args)
		if err != nil {
			return err
		}
		switch {
		case len(extract) > 0:
			return a.extract(cmd, s, trust, extract, x, install)
		case install:
			return fmt.Errorf("%w: --install needs --extract PKG", mirror.ErrUsage)
		case x.dir == "":
			return fmt.Errorf("%w: say where to: -o DIR, or what: --extract PKG", mirror.ErrUsage)
		}
		start := time.Now()
		res, err := mirror.Pull(cmd.Context(), mirror.Pulling{Snapshot: s, Trust: trust, Dir: x.dir, Log: a.log})
		if err != nil {
			return err
		}
		a.log("%d files, %s (%s were there) in %s, %.1f s", res.Files, size(res.Bytes), size(res.Reused), x.dir, time.Since(start).Seconds())
		fmt.Fprintln(a.stdout, x.dir)
		return nil
	}
	return cmd
}

func (x *extractFlags) flags(short func(*string, string, string, string, string), long func(*string, string, string, string)) {
	short(&x.dir, "output", "o", "", "output `DIR` (with --extract: ./mmoci-debs)")
	long(&x.arch, "arch", "", "architecture of the host (default: this one's)")
	long(&x.status, "host-status", "", "dpkg status `FILE` of the host, or none (default: this host's)")
}

// open opens the snapshot that a reader works on and says how it is believed.
func (a *app) open(cmd *cobra.Command, p *planFlags, args []string) (*snapshot.Snapshot, mirror.Trust, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, mirror.Trust{}, err
	}
	ref, err := reference(args, plan)
	if err != nil {
		return nil, mirror.Trust{}, err
	}
	trust, err := p.trust(plan)
	if err != nil {
		return nil, trust, err
	}
	trust.Memory = a.memory(plan)
	s, err := mirror.Open(cmd.Context(), ref, trust, a.options())
	if err != nil {
		return nil, trust, err
	}
	a.detail("%s: %s, snapshot of %s, %s", ref, s.Root, s.Statement.Date.Format(time.RFC3339), believed(s))
	return s, trust, nil
}

// memory is where the statements seen are remembered; nil where there is no place for it.
func (a *app) memory(plan *config.Plan) *mirror.Memory {
	dir, err := stateDir("", plan)
	if err != nil {
		a.detail("statements seen are not remembered: %s", err)
		return nil
	}
	return &mirror.Memory{Dir: filepath.Join(dir, "statements"), Log: a.detail}
}

func believed(s *snapshot.Snapshot) string {
	how := s.Statement.How
	switch {
	case how.Signer != "":
		return "signed by " + how.Signer
	case how.Kind != 0:
		return "pinned by digest"
	}
	return "not signed by a key that is given"
}

func (a *app) extract(cmd *cobra.Command, s *snapshot.Snapshot, trust mirror.Trust, queries []string, x extractFlags, install bool) error {
	q := mirror.Extracting{
		Snapshot: s, Trust: trust, Queries: queries, Dir: x.dir, Architecture: x.arch,
		Recommends: x.recommends, Log: a.log,
	}
	if q.Dir == "" {
		q.Dir = "mmoci-debs"
	}
	if q.Architecture == "" {
		q.Architecture = debArch()
	}
	var err error
	if q.Host, err = a.hostStatus(x.status); err != nil {
		return err
	}
	start := time.Now()
	res, err := mirror.Extract(cmd.Context(), q)
	if err != nil {
		return err
	}
	a.log("%d packages, %s (%s were there) in %s, %.1f s", len(res.Chosen.Packages), size(res.Bytes), size(res.Reused), q.Dir, time.Since(start).Seconds())
	if install {
		return host.Install(cmd.Context(), res.Groups, a.stdout, a.stderr)
	}
	for _, g := range res.Groups {
		fmt.Fprintln(a.stdout, strings.Join(g, " "))
	}
	return nil
}

// statusFile is where dpkg keeps what is installed (dpkg(1), FILES).
const statusFile = "/var/lib/dpkg/status"

// hostStatus reads what the host has; nil for none.
func (a *app) hostStatus(name string) (*resolve.Host, error) {
	if name == "none" {
		return nil, nil
	}
	file := name
	if file == "" {
		file = statusFile
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && name == "" {
		a.log("host status: none (%s is not there)", file)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: host status: %w", mirror.ErrUsage, err)
	}
	a.log("host status: %s; what it has is left out (--host-status none takes everything)", file)
	h, err := resolve.ParseStatus(data)
	if err != nil {
		return nil, fmt.Errorf("%w: host status %s: %w", mirror.ErrUsage, file, err)
	}
	return h, nil
}

// debArch is Debian's name of the architecture this binary runs on.
func debArch() string {
	names := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el", "mips64le": "mips64el", "loong64": "loong64"}
	if n, ok := names[runtime.GOARCH]; ok {
		return n
	}
	return runtime.GOARCH
}

// install is pull --extract --install under its other name.
func (a *app) install() *cobra.Command {
	var p planFlags
	var x extractFlags
	var ref string
	cmd := &cobra.Command{
		Use:   "install PKG[=VERSION]..",
		Short: "Extract packages with what they need and hand them to dpkg",
		Args:  cobra.MinimumNArgs(1),
	}
	p.trustFlags(cmd.Flags())
	x.flags(cmd.Flags().StringVarP, cmd.Flags().StringVar)
	cmd.Flags().StringVar(&ref, "ref", "", "reference (default: ref: of the configuration)")
	cmd.Flags().BoolVar(&x.recommends, "recommends", false, "take Recommends into the closure")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var refs []string
		if ref != "" {
			refs = []string{ref}
		}
		s, trust, err := a.open(cmd, &p, refs)
		if err != nil {
			return err
		}
		return a.extract(cmd, s, trust, args, x, true)
	}
	return cmd
}

// copy copies an artifact from any place to any other.
func (a *app) copy() *cobra.Command {
	return &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a snapshot between registries, layouts and oci-archives, bytes unchanged",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := artifact.ParseReference(args[0])
			if err != nil {
				return err
			}
			dst, err := artifact.ParseReference(args[1])
			if err != nil {
				return err
			}
			bar := a.progress()
			o := a.options()
			o.Progress = bar.event
			res, err := artifact.Copy(cmd.Context(), src, dst, o)
			bar.end()
			if err != nil {
				return err
			}
			a.log("copied %d files, %s; %s were there", res.Uploaded, size(res.Bytes), size(res.Reused))
			fmt.Fprintln(a.stdout, res.Reference)
			return nil
		},
	}
}
