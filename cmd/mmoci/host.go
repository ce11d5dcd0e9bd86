package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive/pgp"
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

// sourcing is what host sources was asked.
type sourcing struct {
	root, url          string
	prefixes           []string
	upstream, keyFiles bool
	alone, policy      bool
}

func (a *app) hostSources() *cobra.Command {
	var p planFlags
	var q sourcing
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

// described is what a snapshot consists of, and how that is believed.
type described struct {
	statement *snapshot.Statement
	table     *snapshot.Table
}

func (a *app) runSources(cmd *cobra.Command, p *planFlags, q sourcing, args []string) error {
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
	var all []described
	if len(args) > 0 && strings.Contains(args[0], "://") {
		if q.url == "" {
			q.url = args[0]
		}
		all, err = describedBy(cmd.Context(), strings.TrimSuffix(args[0], "/"), trust, q.upstream)
	} else {
		var s *snapshot.Snapshot
		if s, trust, err = a.open(cmd, p, &placeFlags{}, args); err == nil {
			all = []described{{s.Statement, s.Table}}
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
	if apt.Archives, err = archivesFor(all, trust, q); err != nil {
		return err
	}
	if q.policy {
		if apt.Policy, err = a.policyOf(cmd.Context(), q.url, all, trust); err != nil {
			return err
		}
	}
	return a.reportFiles(h.UseMirror(apt))
}

// policyOf asks a mirror which versions it denies. Nobody signed the answer, so
// it counts for packages of the verified snapshot alone: the mirror can keep
// from a host what it serves itself, and nothing that comes from elsewhere.
func (a *app) policyOf(ctx context.Context, mirrorURL string, all []described, trust prove.Trust) ([]byte, error) {
	has := map[host.Denied]bool{}
	for _, d := range all {
		if d.statement.How.Kind == pgp.Unverified && !trust.Unsigned {
			return nil, fmt.Errorf("%w: --policy needs a snapshot that is verified as a whole, by the site's key (--keyring FILE or trust: in mmoci.yaml)", outcome.ErrUsage)
		}
		for row := range d.table.Rows() {
			if row.IsPackage() {
				has[host.Denied{Package: row.Name, Version: row.Version}] = true
				has[host.Denied{Package: row.Name + ":" + row.Architecture, Version: row.Version}] = true
			}
		}
	}
	text, err := host.Fetch(ctx, mirrorURL+"/setup/policy.pref")
	if err != nil {
		return nil, err
	}
	denied, err := host.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mirrorURL, err)
	}
	kept := slices.DeleteFunc(slices.Clone(denied), func(d host.Denied) bool { return !has[d] })
	if n := len(denied) - len(kept); n > 0 {
		a.log("policy: %s that the snapshot does not have left out", count(n, "denied version"))
	}
	return host.FormatPolicy(kept), nil
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

// archivesFor are the archives asked for with the key that each is verified by.
func archivesFor(all []described, trust prove.Trust, q sourcing) ([]host.Archive, error) {
	var out []host.Archive
	found := map[string]bool{}
	for _, d := range all {
		for i := range d.statement.Archives {
			ar := &d.statement.Archives[i]
			if len(q.prefixes) > 0 && !slices.Contains(q.prefixes, ar.Prefix) || q.upstream && ar.Class != snapshot.Upstream {
				continue
			}
			found[ar.Prefix] = true
			ring, whose := trust.Site, "the site's key (--keyring FILE)"
			if q.upstream || ar.Mode == snapshot.Verbatim {
				ring, whose = trust.Upstream[ar.Prefix], "upstream's key (--keyring "+ar.Prefix+"=FILE)"
			}
			if ring == nil {
				return nil, fmt.Errorf("%w: archive %s: apt needs %s", outcome.ErrUsage, ar.Prefix, whose)
			}
			key, err := ring.Armor()
			if err != nil {
				return nil, err
			}
			o := sources.Options{Base: q.url, Upstream: q.upstream, Comment: ar.Prefix + ", by mmoci host sources; mmoci host undo removes it"}
			if stanzas := sources.Of(d.statement, d.table, ar.Prefix, o); len(stanzas) > 0 {
				out = append(out, host.Archive{Prefix: ar.Prefix, Key: key, Sources: stanzas})
			}
		}
	}
	for _, prefix := range q.prefixes {
		if !found[prefix] {
			return nil, fmt.Errorf("%w: no archive %s there", outcome.ErrNotFound, prefix)
		}
	}
	return out, nil
}

// describedBy reads what the mirror at base serves. Several references that
// are served as one have a statement each, which are asked for by prefix.
func describedBy(ctx context.Context, base string, trust prove.Trust, upstream bool) ([]described, error) {
	d, err := describedAt(ctx, base, "", trust, upstream)
	if !errors.Is(err, host.ErrAbsent) {
		return []described{d}, err
	}
	list, err := host.Fetch(ctx, base+"/setup/")
	if err != nil {
		return nil, err
	}
	var out []described
	seen := map[snapshot.Digest]bool{}
	for line := range strings.Lines(string(list)) {
		prefix, ok := strings.CutSuffix(strings.TrimSpace(line[strings.LastIndex(line, "/")+1:]), ".sources")
		if !ok || strings.HasSuffix(prefix, "-upstream") {
			continue
		}
		if err := snapshot.ValidPrefix(prefix); err != nil {
			return nil, fmt.Errorf("%s/setup/: %w", base, err)
		}
		d, err := describedAt(ctx, base, "?prefix="+prefix, trust, upstream)
		if err != nil {
			return nil, err
		}
		if id := snapshot.Sum(d.table.Bytes()); !seen[id] {
			seen[id] = true
			out = append(out, d)
		}
	}
	return out, nil
}

// describedAt reads a statement and the table that it binds. Not verified it is
// enough for upstream's view: a lie about which suites there are makes apt fail,
// and what they hold apt verifies by upstream's key.
func describedAt(ctx context.Context, base, query string, trust prove.Trust, upstream bool) (d described, err error) {
	data, err := host.Fetch(ctx, base+"/mmoci/statement"+query)
	if err != nil {
		return d, err
	}
	text, how := data, pgp.How{}
	if strings.HasPrefix(string(data), "-----BEGIN PGP SIGNED MESSAGE-----") {
		if text, how, err = pgp.VerifyClearsigned(data, pgp.Trust{Keyring: trust.Site}); err != nil {
			return d, fmt.Errorf("statement of %s: %w", base, err)
		}
	}
	if how.Kind == pgp.Unverified && !upstream && !trust.Unsigned {
		return d, fmt.Errorf("%w: the statement of %s cannot be verified: name the site's key (--keyring FILE or trust: in mmoci.yaml), or take --upstream", outcome.ErrUsage, base)
	}
	if d.statement, err = snapshot.ParseStatement(text, how); err != nil {
		return d, err
	}
	if how.Kind == pgp.Signed {
		if err := trust.Current(d.statement); err != nil {
			return d, fmt.Errorf("statement of %s: %w", base, err)
		}
	}
	table, err := host.Fetch(ctx, base+"/mmoci/table"+query)
	if err != nil {
		return d, err
	}
	if snapshot.BlobOf(table) != d.statement.Table {
		return d, fmt.Errorf("%w: %s: the table is not the one of the statement; if the mirror has just moved on, try again", outcome.ErrIntegrity, base)
	}
	d.table, err = snapshot.OpenTable(table)
	return d, err
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
