package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/snapshot"
)

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

func (a *app) extract(cmd *cobra.Command, s *snapshot.Snapshot, trust mirror.Trust, queries []string, x extractFlags) error {
	q := mirror.Extracting{
		Snapshot: s, Trust: trust, Queries: queries, Dir: x.dir, Architecture: x.arch,
		Recommends: x.recommends, Log: a.log, Progress: a.bar.event,
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
	if q.Host, err = a.hostStatus(x.status, h); err != nil {
		return err
	}
	start := time.Now()
	res, err := mirror.Extract(cmd.Context(), q)
	a.bar.end()
	if err != nil {
		return err
	}
	if a.events {
		return a.printJSON(pullJSON{
			Snapshot: s.Root.String(), Directory: q.Dir, Files: len(res.Chosen.Packages), Bytes: res.Bytes, ReusedBytes: res.Reused, Calls: res.Groups,
		})
	}
	a.log("%d packages, %s (%s were there) in %s, %.1f s", len(res.Chosen.Packages), size(res.Bytes), size(res.Reused), q.Dir, time.Since(start).Seconds())
	for _, g := range res.Groups {
		fmt.Fprintln(a.stdout, strings.Join(g, " "))
	}
	return nil
}

// hostStatus reads what a machine has; nil for none. Not named, it is that of h.
func (a *app) hostStatus(name string, h *host.Host) (*resolve.Host, error) {
	if name == "none" {
		return nil, nil
	}
	file, read := name, func() ([]byte, error) { return os.ReadFile(name) }
	if name == "" {
		file, read = h.StatusFile(), h.ReadStatus
	}
	data, err := read()
	if errors.Is(err, os.ErrNotExist) && name == "" {
		a.log("host status: none (%s is not there)", file)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: host status: %w", mirror.ErrUsage, err)
	}
	a.log("host status: %s; what it has is left out", file)
	parsed, err := resolve.ParseStatus(data)
	if err != nil {
		return nil, fmt.Errorf("%w: host status %s: %w", mirror.ErrUsage, file, err)
	}
	for _, note := range parsed.Notes() {
		a.log("host status: %s", note)
	}
	return parsed, nil
}

// ownArchitecture asks dpkg for the architecture of this machine, while something else goes on.
func ownArchitecture(ctx context.Context) <-chan string {
	own := make(chan string, 1)
	go func() { own <- cmp.Or((&host.Host{}).Architecture(ctx), debArch()) }()
	return own
}

// debArch is Debian's name of the architecture this binary runs on.
func debArch() string {
	names := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el", "mips64le": "mips64el"}
	if n, ok := names[runtime.GOARCH]; ok {
		return n
	}
	return runtime.GOARCH
}
