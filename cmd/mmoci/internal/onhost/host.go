package onhost

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/aptmethod"
	"example.org/mmoci/internal/engine"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/snapshot"
)

// Host changes a machine and undoes it: sources of apt, images for its engine.
func Host(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Point this host at a mirror and its images, take that back",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(hostSources(a), hostImages(a), hostPut(a), hostUndo(a), hostWait(a))
	return cmd
}

// sourcesOptions are the flags of host sources.
type sourcesOptions struct {
	root, url          string
	prefixes           []string
	upstream, keyFiles bool
	alone, policy, oci bool
}

func hostSources(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var q sourcesOptions
	cmd := &cobra.Command{
		Use:   "sources [REF | URL]",
		Short: "Write apt's .sources, keys and the proxy exception for a mirror",
		Long: `Reads the statement of the snapshot at REF, or of the one that the mirror at URL serves, verifies it by the site's key, and writes
/etc/apt/sources.list.d/mmoci-PREFIX.sources for each archive, naming only what the snapshot has, and an exception from apt's proxies for the
mirror's address. Nothing that the mirror says is believed: neither key nor text comes from it, and of --policy only which of the snapshot's own
versions it denies. With --upstream the archives are taken
under upstream's own signature, by keys given as --keyring PREFIX=FILE; no site key is needed then.

With --oci apt reads the snapshot straight from the registry at REF, without a mirror: mmoci is a method of apt's then, which its .deb installs.

Written again with the same, nothing changes. "mmoci host undo" takes back exactly what was written.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.TrustFlags(f)
	f.StringVar(&q.root, "root", "", "root file system `DIR` to write to")
	f.StringVar(&q.url, "url", "", "where the mirror is served, as apt reaches it (default: URL, or http://"+command.DefaultListen+")")
	f.StringArrayVar(&q.prefixes, "prefix", nil, "only these archives (repeatable; default: all)")
	f.BoolVar(&q.upstream, "upstream", false, "take the archives under upstream's own signature")
	f.BoolVar(&q.keyFiles, "key-files", false, "put keys in /etc/apt/keyrings instead of into the .sources (always so where dpkg's status says that the host's apt is older than 2.3.10)")
	f.BoolVar(&q.oci, "oci", false, "let apt read REF straight from its registry")
	f.BoolVar(&q.alone, "alone", false, "move all other sources aside")
	f.BoolVar(&q.policy, "policy", false, "pin what the mirror's rules deny, of the versions that the snapshot has")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runSources(a, cmd, &p, q, args)
	}
	return cmd
}

func runSources(a *command.App, cmd *cobra.Command, p *command.PlanFlags, q sourcesOptions, args []string) error {
	h, err := hostAt(a, q.root)
	if err != nil {
		return err
	}
	plan, err := p.Plan()
	if err != nil {
		return err
	}
	trust, err := p.Trust(plan)
	if err != nil {
		return err
	}
	if q.oci {
		ref, err := command.Reference(args, plan)
		if err != nil {
			return err
		}
		if q.url != "" || q.policy {
			return fmt.Errorf("%w: --url and --policy are of a mirror, and with --oci there is none", outcome.ErrUsage)
		}
		if q.url, err = aptmethod.URL(ref, a.Registry.PlainHTTP); err != nil {
			return fmt.Errorf("%w: --oci: %w", outcome.ErrUsage, err)
		}
	}
	var all []host.Described
	if len(args) > 0 && strings.Contains(args[0], "://") {
		if q.url == "" {
			q.url = args[0]
		}
		all, err = host.Describe(cmd.Context(), strings.TrimSuffix(args[0], "/"), trust, q.upstream)
	} else {
		var s *snapshot.Snapshot
		if s, trust, err = a.Open(cmd, p, &command.PlaceFlags{}, args); err == nil {
			all = []host.Described{{Statement: s.Statement, Table: s.Table}}
		}
	}
	if err != nil {
		return err
	}
	if q.url == "" {
		q.url = "http://" + command.DefaultListen
	}
	q.url = strings.TrimSuffix(q.url, "/")
	apt := host.Apt{Mirror: q.url, KeyFiles: q.keyFiles, Alone: q.alone}
	if apt.Archives, err = host.Archives(all, trust, host.Wanted{Mirror: q.url, Prefixes: q.prefixes, Upstream: q.upstream}); err != nil {
		return err
	}
	if q.policy {
		var others int
		if apt.Policy, others, err = host.Policy(cmd.Context(), q.url, all, trust); err != nil {
			return err
		}
		if others > 0 {
			a.Log("policy: %s that the snapshot does not have left out", terminal.Count(others, "denied version"))
		}
	}
	changed, err := h.UseMirror(apt)
	if q.oci && err == nil {
		scheme, _, _ := strings.Cut(q.url, ":")
		if method := below(q.root, "usr/lib/apt/methods/"+scheme); !exists(method) {
			a.Log("apt has no method %s here yet: install mmoci's .deb, or make %s a link to the program", scheme, method)
		}
	}
	return reportFiles(a, q.root, changed, err)
}

// exists tells whether there is something by a name, be it a link that leads nowhere.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// imagesOptions are the flags of host images.
type imagesOptions struct {
	engine.Options
	kind, hosts string
	replace     bool
}

func hostImages(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var places command.PlaceFlags
	var q imagesOptions
	cmd := &cobra.Command{
		Use:   "images [REF] [--] [HOST/REPO:TAG..]",
		Short: "Put the container images of a snapshot into this host's container engine",
		Long: `Verifies the statement of the snapshot at REF by the site's key (or the digest in REF), and hands each image that it names, or those
that are named here, to docker ("docker load"), containerd ("ctr images import") or podman ("podman load"): what of it runs on this
machine, as a tar that is verified while it is streamed. Of wrong bytes the engine takes no image (exit code 3). An image that is there
already is left as it is, and the same command goes on where an earlier one ended. The images that are there afterwards are printed.

A name that another image has, which mmoci did not put there, is refused before anything changes. "mmoci host undo" takes out exactly
what was put there; an image that a container uses stays, and is named.

With --hosts URL, containerd and podman ask the registry at URL ("mmoci serve --registry") first for images of the hosts
that the snapshot's images are named by: files below /etc/containerd/certs.d and /etc/containers/registries.conf.d, which host undo removes.`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	p.TrustFlags(f)
	places.Flags(f)
	f.StringVar(&q.kind, "engine", "auto", "docker, containerd, podman or auto: the first of these that answers")
	f.StringVar(&q.Namespace, "namespace", engine.KubernetesNamespace, "containerd's `NAMESPACE`; kubelet sees no other than k8s.io")
	command.DurationVar(f, &q.Wait, "wait", "how long to wait for an engine that is starting")
	f.BoolVar(&q.replace, "replace", false, "take names that other images have; those are not brought back")
	f.StringVar(&q.hosts, "hosts", "", "let containerd and podman ask the registry at `URL` first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return runImages(a, cmd, &p, &places, q, args)
	}
	return cmd
}

func runImages(a *command.App, cmd *cobra.Command, p *command.PlanFlags, places *command.PlaceFlags, q imagesOptions, args []string) error {
	h, err := hostAt(a, "")
	if err != nil && q.hosts != "" {
		return err
	}
	refs, names := args, []string(nil)
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		refs, names = args[:at], args[at:]
	} else if len(args) > 1 {
		refs, names = args[:1], args[1:]
	}
	s, _, err := a.Open(cmd, p, places, refs)
	if err != nil {
		return err
	}
	images, err := engine.Wanted(s, names)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		a.Log("the snapshot has no container images")
		return nil
	}
	if q.kind != "auto" {
		q.Kind = engine.Kind(q.kind)
	}
	e, err := engine.Find(cmd.Context(), q.Options)
	if err != nil {
		return err
	}
	dir, err := state.HostDir("images")
	if err != nil {
		return err
	}
	there, err := engine.Import(cmd.Context(), engine.ImportOptions{Snapshot: s, Names: names, Engine: e, State: dir, Replace: q.replace, Log: a.Log})
	for _, name := range there {
		fmt.Fprintln(a.Stdout, name)
	}
	if err != nil || q.hosts == "" {
		return err
	}
	changed, err := h.UseRegistry(q.hosts, images)
	for _, name := range changed {
		a.Log("wrote /%s", name)
	}
	return err
}

// below is the path of a file of a root directory, as whoever named that root reaches it; "" is this host's.
func below(root, name string) string { return filepath.Join(cmp.Or(root, "/"), name) }

// reportFiles prints the paths that changed.
func reportFiles(a *command.App, root string, changed []string, err error) error {
	for _, name := range changed {
		fmt.Fprintln(a.Stdout, below(root, name))
	}
	if err == nil && len(changed) == 0 {
		a.Log("nothing to do")
	}
	return err
}

// hostAt is this host or a root directory, ready to be changed.
func hostAt(a *command.App, root string) (*host.Host, error) {
	h := &host.Host{Out: a.Terminal, UID: os.Geteuid()}
	if root != "" {
		var err error
		if h.Root, err = filepath.Abs(root); err != nil {
			return nil, err
		}
	}
	return h, h.Writable()
}

func hostUndo(a *command.App) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "undo",
		Short: "Take back exactly what the other host commands wrote, moved aside and put into an engine",
		Long: `Removes the files that host sources, host put and host images --hosts wrote, brings back what was moved aside, ends and disables units
among them, and takes the images that host images imported out of the engine. What was changed since, and an image that a container uses, stays and is
named; run again, it removes the rest. With --root it is files alone. Packages, copied snapshots and mmoci itself stay.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUndo(cmd.Context(), a, root) },
	}
	cmd.Flags().StringVar(&root, "root", "", "root file system `DIR` to change")
	return cmd
}

func runUndo(ctx context.Context, a *command.App, root string) error {
	h, err := hostAt(a, root)
	if err != nil {
		return err
	}
	changed, kept, err := h.Undo()
	for _, name := range kept {
		a.Log("kept, for it was changed since: %s", below(root, name))
	}
	var images []string
	if root == "" && err == nil { // the pod that uses an image goes first
		var dir string
		if dir, err = state.HostDir("images"); err == nil {
			images, kept, err = engine.Undo(ctx, dir)
		}
		for _, why := range kept {
			a.Log("kept: %s", why)
		}
	}
	for _, name := range images {
		fmt.Fprintln(a.Stdout, name)
	}
	if len(images) > 0 && len(changed) == 0 {
		return err
	}
	return reportFiles(a, root, changed, err)
}

func hostPut(a *command.App) *cobra.Command {
	var replace, keep bool
	var root string
	cmd := &cobra.Command{
		Use:   "put PATH=FILE..",
		Short: "Write files of this host, so that host undo takes them back",
		Long: `Writes each FILE to PATH, where it differs, and removes what an earlier call wrote and this one does not name (but with --keep). A file that is there and not of
mmoci's making is refused. A unit of systemd's that is removed is ended and disabled first. bootstrap.sh puts the unit or the
static pod of the mirror so.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := hostAt(a, root)
			if err != nil {
				return err
			}
			files := map[string][]byte{}
			for _, arg := range args {
				to, from, ok := strings.Cut(arg, "=")
				to = strings.TrimPrefix(filepath.Clean(to), "/")
				if !ok || !fs.ValidPath(to) || to == "." {
					return fmt.Errorf("%w: %q is not PATH=FILE", outcome.ErrUsage, arg)
				}
				if files[to], err = os.ReadFile(from); err != nil {
					return err
				}
			}
			changed, err := h.PutService(files, replace, keep)
			return reportFiles(a, root, changed, err)
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "write over files that mmoci did not make; those are not brought back")
	cmd.Flags().BoolVar(&keep, "keep", false, "let stay what earlier calls wrote")
	cmd.Flags().StringVar(&root, "root", "", "root file system `DIR` to change")
	return cmd
}

func hostWait(a *command.App) *cobra.Command {
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "wait [URL]",
		Short: "Wait until a mirror is ready",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url := "http://" + command.DefaultListen
			if len(args) > 0 {
				url = args[0]
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return host.Wait(ctx, url, 200*time.Millisecond)
		},
	}
	command.DurationVar(cmd.Flags(), &timeout, "timeout", "how long")
	return cmd
}
