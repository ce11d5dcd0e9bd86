package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/snapshot"
)

func (a *app) host() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Point this host's apt at a mirror, wait for it, take that back",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.hostSources(), a.hostUndo(), a.hostWait())
	return cmd
}

// sourcesOptions are the flags of host sources.
type sourcesOptions struct {
	root, url          string
	prefixes           []string
	upstream, keyFiles bool
	alone, policy      bool
}

func (a *app) hostSources() *cobra.Command {
	var p planFlags
	var q sourcesOptions
	cmd := &cobra.Command{
		Use:   "sources [REF | URL]",
		Short: "Write apt's .sources, keys and the proxy exception for a mirror",
		Long: `Reads the statement of the snapshot at REF, or of the one that the mirror at URL serves, verifies it by the site's key, and writes
/etc/apt/sources.list.d/mmoci-PREFIX.sources for each archive, naming only what is carried, and an exception from apt's proxies for the
mirror's address. Nothing that the mirror says is believed: neither key nor text comes from it, and of --policy only which of the snapshot's own
versions it denies. With --upstream the archives are taken
under upstream's own signature, by keys given as --keyring PREFIX=FILE; no site key is needed then.

Written again with the same, nothing changes. "mmoci host undo" takes back exactly what was written.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.trustFlags(f)
	f.StringVar(&q.root, "root", "", "root file system `DIR` to write to")
	f.StringVar(&q.url, "url", "", "where the mirror is served, as apt reaches it (default: URL, or http://"+defaultListen+")")
	f.StringArrayVar(&q.prefixes, "prefix", nil, "only these archives (repeatable; default: all)")
	f.BoolVar(&q.upstream, "upstream", false, "take the archives under upstream's own signature")
	f.BoolVar(&q.keyFiles, "key-files", false, "put keys in /etc/apt/keyrings instead of into the .sources")
	f.BoolVar(&q.alone, "alone", false, "move all other sources aside")
	f.BoolVar(&q.policy, "policy", false, "pin what the mirror's rules deny, of the versions that the snapshot has")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.runSources(cmd, &p, q, args)
	}
	return cmd
}

func (a *app) runSources(cmd *cobra.Command, p *planFlags, q sourcesOptions, args []string) error {
	h, err := a.hostAt(q.root)
	if err != nil {
		return err
	}
	plan, err := p.plan()
	if err != nil {
		return err
	}
	trust, err := p.trust(plan)
	if err != nil {
		return err
	}
	var all []host.Described
	if len(args) > 0 && strings.Contains(args[0], "://") {
		if q.url == "" {
			q.url = args[0]
		}
		all, err = host.Describe(cmd.Context(), strings.TrimSuffix(args[0], "/"), trust, q.upstream)
	} else {
		var s *snapshot.Snapshot
		if s, trust, err = a.open(cmd, p, &placeFlags{}, args); err == nil {
			all = []host.Described{{Statement: s.Statement, Table: s.Table}}
		}
	}
	if err != nil {
		return err
	}
	if q.url == "" {
		q.url = "http://" + defaultListen
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
			a.log("policy: %s that the snapshot does not have left out", terminal.Count(others, "denied version"))
		}
	}
	return a.reportFiles(h.UseMirror(apt))
}

// reportFiles prints the paths that changed.
func (a *app) reportFiles(changed []string, err error) error {
	for _, name := range changed {
		fmt.Fprintln(a.stdout, "/"+name)
	}
	if err == nil && len(changed) == 0 {
		a.log("nothing to do")
	}
	return err
}

// hostAt is this host or a root directory, ready to be changed.
func (a *app) hostAt(root string) (*host.Host, error) {
	h := &host.Host{Out: a.terminal, UID: os.Geteuid()}
	if root != "" {
		var err error
		if h.Root, err = filepath.Abs(root); err != nil {
			return nil, err
		}
	}
	return h, h.Writable()
}

func (a *app) hostUndo() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "undo",
		Short: "Remove exactly what host sources wrote, bring back what it moved aside",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := a.hostAt(root)
			if err != nil {
				return err
			}
			changed, kept, err := h.Undo()
			for _, name := range kept {
				a.log("kept, for it was changed since: /%s", name)
			}
			return a.reportFiles(changed, err)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "root file system `DIR` to change")
	return cmd
}

func (a *app) hostWait() *cobra.Command {
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "wait [URL]",
		Short: "Wait until a mirror is ready",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url := "http://" + defaultListen
			if len(args) > 0 {
				url = args[0]
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return host.Wait(ctx, url, 200*time.Millisecond)
		},
	}
	durationVar(cmd.Flags(), &timeout, "timeout", "how long")
	return cmd
}
