package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/internal/serve"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/pkg/artifact"
)

// defaultListen is loopback: who serves a site says so.
const defaultListen = "127.0.0.1:8000"

func (a *app) serve() *cobra.Command {
	var p planFlags
	var listen []string
	var state string
	var follow, grace time.Duration
	cmd := &cobra.Command{
		Use:   "serve [REF]..",
		Short: "Serve snapshots to apt over HTTP, following their tags",
		Long: `Serves /PREFIX/dists and /PREFIX/pool of the snapshot that the tag names now, /snapshot/ID/PREFIX/.. of others,
/upstream/PREFIX/.. under upstream's own signature, and /setup/PREFIX.sources to point apt here. Several REFs are a union.
It verifies every byte against its digest, but no signature: its clients do that.`,
	}
	f := cmd.Flags()
	p.flags(f)
	f.StringArrayVar(&listen, "listen", nil, "`ADDR`: host:port or unix:PATH (repeatable; default "+defaultListen+")")
	f.StringVar(&state, "state", "", "state `DIR` (default /var/lib/mmoci, or below XDG_STATE_HOME)")
	f.DurationVar(&follow, "follow", 0, "how often a tag is asked for (default 15s)")
	f.DurationVar(&grace, "grace", 0, "how long the previous snapshot is answered from (default 1h)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, err := p.plan()
		if err != nil {
			return err
		}
		o := serve.Options{Follow: follow, Grace: grace, Log: slog.New(slog.NewTextHandler(a.stderr, nil))}
		if !a.quiet {
			o.Access = slog.New(slog.NewJSONHandler(a.stdout, nil))
		}
		if o.StateDir, err = stateDir(state, plan); err != nil {
			return err
		}
		if o.SiteKey, err = siteKey(plan); err != nil {
			return err
		}
		if plan != nil {
			o.Policy = plan.Serve.Policy
		}
		var closeStore func() error
		if o.Sources, closeStore, err = a.sources(args, plan, o.StateDir); err != nil {
			return err
		}
		defer closeStore()
		srv, err := serve.New(cmd.Context(), o)
		if err != nil {
			return err
		}
		return srv.ListenAndServe(cmd.Context(), addresses(listen, plan), func(addrs []string) {
			a.log("listening on %s", strings.Join(addrs, ", "))
		})
	}
	return cmd
}

func addresses(flags []string, plan *config.Plan) []string {
	switch {
	case len(flags) > 0:
		return flags
	case plan != nil && len(plan.Serve.Listen) > 0:
		return plan.Serve.Listen
	}
	return []string{defaultListen}
}

// stateDir makes the state directory: asked for, configured, the system's, or the user's.
func stateDir(flag string, plan *config.Plan) (string, error) {
	dir := flag
	if dir == "" && plan != nil {
		dir = plan.Serve.State
	}
	if dir == "" {
		dir = "/var/lib/mmoci"
		if x := os.Getenv("XDG_STATE_HOME"); x != "" {
			dir = filepath.Join(x, "mmoci")
		} else if os.Getuid() != 0 {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("%w: no state directory: %w (--state DIR)", mirror.ErrUsage, err)
			}
			dir = filepath.Join(home, ".local/state/mmoci")
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w (--state DIR)", err)
	}
	return dir, nil
}

// siteKey is the site's public key, for the .sources texts; nil if none is configured.
func siteKey(plan *config.Plan) ([]byte, error) {
	if plan == nil || len(plan.Trust) == 0 {
		return nil, nil
	}
	ring, err := mirror.ReadKeyrings(plan.Trust...)
	if err != nil {
		return nil, err
	}
	return ring.Armor()
}

// sources opens what is served: the REFs given, else the configuration's. A
// layout is read in place; what comes from a registry is kept in a store.
func (a *app) sources(args []string, plan *config.Plan, state string) ([]serve.Source, func() error, error) {
	var refs []artifact.Reference
	for i := 0; i == 0 || i < len(args); i++ {
		ref, err := reference(args[min(i, len(args)):], plan)
		if err != nil {
			return nil, nil, err
		}
		refs = append(refs, ref)
	}
	var kept *store.Store
	var out []serve.Source
	for _, ref := range refs {
		if ref.Kind == artifact.Registry && kept == nil {
			var err error
			if kept, err = store.Open(filepath.Join(state, "store"), store.Options{}); err != nil {
				return nil, nil, err
			}
		}
		src := &mirror.Source{Ref: ref, Options: a.options()}
		if ref.Kind == artifact.Registry {
			src.Through = kept.Through
		}
		out = append(out, src)
	}
	return out, func() error {
		if kept == nil {
			return nil
		}
		return kept.Close()
	}, nil
}
