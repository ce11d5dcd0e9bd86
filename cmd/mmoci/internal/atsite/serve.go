// Package atsite is the commands of whoever runs a mirror: serve, check, policy, copy, tag, export.
package atsite

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/internal/serve"
	"example.org/mmoci/internal/serve/listen"
	"example.org/mmoci/internal/serve/logs"
	"example.org/mmoci/internal/serve/prefetch"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/internal/store"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
)

// serveFlags are the flags of mmoci serve.
type serveFlags struct {
	plan           command.PlanFlags
	listen         []string
	state, store   string
	mirrors        []string
	fallback       bool
	prefetch       string
	logFormat      string
	trustedProxies []string
	o              serve.Options // what a flag sets as it is
}

func (sf *serveFlags) flags(f *pflag.FlagSet) {
	sf.plan.Flags(f)
	f.StringArrayVar(&sf.listen, "listen", nil, "`ADDR`: host:port or unix:PATH (repeatable; default "+command.DefaultListen+")")
	f.StringVar(&sf.state, "state", "", "state `DIR` (default /var/lib/mmoci, or below XDG_STATE_HOME)")
	f.StringVar(&sf.store, "store-size", "", "bound of the store in state DIR, such as 20G (default: none)")
	f.StringArrayVar(&sf.mirrors, "via", nil, "`REF` of a place that is tried first for content, in turn (repeatable)")
	f.BoolVar(&sf.fallback, "fallback-upstream", false, "a pool file that the registry cannot give is fetched from its archive's url:, verified by the same digest")
	command.DurationVar(f, &sf.o.Follow, "follow", "how often a tag is asked for (default 15s)")
	command.DurationVar(f, &sf.o.Grace, "grace", "how long the previous snapshot is answered from (default 1h)")
	f.BoolVar(&sf.o.Wait, "wait", false, "start although a reference cannot be opened yet; /readyz says so")
	f.StringVar(&sf.prefetch, "prefetch", "indices", "`WHAT` of a snapshot is fetched before clients ask for it: none, indices, all")
	f.StringVar(&sf.logFormat, "log-format", "", "`FORMAT` of the records of requests (stdout) and events (stderr): json, text (default: text on a terminal, else json)")
	f.StringVar(&sf.o.Policy, "policy", "", "rules `FILE`, read again when it changes")
	f.BoolVar(&sf.o.PolicyLogOnly, "policy-log-only", false, "record what the rules would deny, and allow it")
	f.BoolVar(&sf.o.Registry, "registry", false, "answer for container images and snapshots as a read-only OCI registry, too, at /v2/")
	f.StringVar(&sf.o.Mirrors, "mirrors", "", "list `FILE` of mirrors that clients are sent to for blobs and packages, read again when it changes")
	f.StringVar(&sf.o.BaseURL, "base-url", "", "how clients reach this server, such as https://site.example.org/apt (default: their Host header)")
	f.StringSliceVar(&sf.trustedProxies, "trusted-proxy", nil, "address or `CIDR` whose X-Forwarded-For is believed (repeatable)")
	f.StringVar(&sf.o.TLSCert, "tls-cert", "", "PEM `FILE`; with --tls-key, HTTPS is spoken; both are read again when they change")
	f.StringVar(&sf.o.TLSKey, "tls-key", "", "PEM `FILE`")
	f.StringVar(&sf.o.Credentials, "credentials", "", "`FILE` of lines USER:PASSWORD or TOKEN that clients must show one of")
}

// Serve serves snapshots over HTTP.
func Serve(a *command.App) *cobra.Command {
	var sf serveFlags
	cmd := &cobra.Command{
		Use:   "serve [REF]..",
		Short: "Serve snapshots to apt over HTTP, following their tags",
		Long: `Serves /PREFIX/dists and /PREFIX/pool of the snapshot that the tag names now, /snapshot/ID/PREFIX/.. of others,
/upstream/PREFIX/.. under upstream's own signature, and /setup/ to point hosts here. Several REFs are a union.
With --registry it is a read-only OCI registry for the container images of the snapshots, by REPO:TAG or HOST/REPO:TAG,
and for the snapshots themselves, by their repository and tag; those of a layout or oci-archive are called mirror.
It verifies every byte against its digest, and each new statement under trust: of the configuration, if there is one;
no other signature: its clients do that.
Requests are recorded on stdout, events and errors on stderr, each as a line: JSON, or text on a terminal.
SIGTERM lets answers under way finish. SIGHUP has rules, certificate and credentials read again and the tags asked for
at once; it ends nothing, and mmoci.yaml is not read again.`,
	}
	sf.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		hangups := make(chan os.Signal, 1)
		// From here on none ends the process.
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		access, err := accessLog(a, &sf)
		if err != nil {
			return err
		}
		plan, err := sf.plan.Plan()
		if err != nil {
			return err
		}
		for _, addr := range addresses(sf.listen, plan) {
			if err := config.CheckListen(addr); err != nil {
				return fmt.Errorf("%w: --listen: %w", outcome.ErrUsage, err)
			}
		}
		o, err := sf.options(plan)
		if err != nil {
			return err
		}
		o.Log, o.Version = a.Server, a.Version
		if !a.Quiet {
			lines := terminal.NewLineWriter(a.Stdout)
			defer lines.Close()
			o.Access = logs.New(lines, access, slog.LevelInfo)
		}
		closeStore, err := sourcesOf(a, &sf, &o, args, plan)
		if err != nil {
			return err
		}
		defer func() {
			if err := closeStore(); err != nil { // what is not kept is fetched again; nothing wrong was sent
				a.Log("store: %v", err)
			}
		}()
		srv, err := serve.New(cmd.Context(), o)
		if err != nil {
			return err
		}
		go func() {
			for {
				select {
				case <-hangups:
					srv.Reload(cmd.Context())
				case <-cmd.Context().Done():
					return
				}
			}
		}()
		return srv.ListenAndServe(cmd.Context(), addresses(sf.listen, plan), func(addrs []string) {
			o.Log.Info("listening on " + strings.Join(addrs, ", "))
		})
	}
	return cmd
}

// accessLog has errors and events be records of the server from here on. It returns the format of those of requests.
func accessLog(a *command.App, sf *serveFlags) (access logs.Format, err error) {
	events, err := logs.ParseFormat(sf.logFormat, a.Shown.Stderr)
	if err != nil {
		return "", fmt.Errorf("%w: --log-format %w", outcome.ErrUsage, err)
	}
	level := slog.LevelInfo
	switch {
	case a.Quiet:
		level = slog.LevelWarn
	case a.Verbose:
		level = slog.LevelDebug
	}
	a.Server = logs.New(a.Stderr, events, level)
	return logs.ParseFormat(sf.logFormat, a.Shown.Stdout)
}

// options checks what the flags say, and adds the configuration's.
func (sf *serveFlags) options(plan *config.Plan) (serve.Options, error) {
	o := sf.o
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return o, fmt.Errorf("%w: --tls-cert and --tls-key belong together", outcome.ErrUsage)
	}
	var err error
	if o.Prefetch, err = prefetch.Parse(sf.prefetch); err != nil {
		return o, fmt.Errorf("%w: --prefetch %w", outcome.ErrUsage, err)
	}
	if o.TrustedProxies, err = listen.ParseNetworks(sf.trustedProxies); err != nil {
		return o, fmt.Errorf("%w: --trusted-proxy %w", outcome.ErrUsage, err)
	}
	if plan != nil && o.Policy == "" {
		o.Policy = plan.Serve.Policy
	}
	if plan != nil && o.Mirrors == "" {
		o.Mirrors = plan.Serve.Mirrors
	}
	o.Registry = o.Registry || plan != nil && plan.Serve.Registry
	if plan != nil {
		o.FreshFor, o.StaleAfter = plan.Serve.FreshFor, plan.Serve.StaleAfter
	}
	if o.PolicyLogOnly && o.Policy == "" {
		return o, fmt.Errorf("%w: --policy-log-only without a policy", outcome.ErrUsage)
	}
	o.Listen = addresses(sf.listen, plan)
	named := sf.state
	if named == "" && plan != nil {
		named = plan.Serve.State
	}
	if o.StateDir, err = state.ServerDir(named); err != nil {
		return o, fmt.Errorf("%w (--state DIR names another)", err)
	}
	if o.Keyrings, err = signer.Keyrings(plan); err != nil {
		return o, err
	}
	if site := o.Keyrings[""]; site != nil {
		o.ReadSiteKeys = func() (*pgp.Keyring, error) { return signer.ReadKeyrings(plan.Trust...) }
		o.SiteKey, err = site.Armor()
	}
	return o, err
}

func addresses(flags []string, plan *config.Plan) []string {
	switch {
	case len(flags) > 0:
		return flags
	case plan != nil && len(plan.Serve.Listen) > 0:
		return plan.Serve.Listen
	}
	return []string{command.DefaultListen}
}

// sourcesOf opens what is served: the REFs given, else the configuration's. A
// layout is read in place; what comes from a registry is kept in a store.
func sourcesOf(a *command.App, sf *serveFlags, o *serve.Options, args []string, plan *config.Plan) (closeStore func() error, err error) {
	closeStore = func() error { return nil }
	maxBytes, err := command.SizeOf("--store-size", sf.store)
	if err != nil {
		return closeStore, err
	}
	var mirrors []artifact.Reference
	for _, m := range sf.mirrors {
		ref, err := artifact.ParseReference(m)
		if err != nil {
			return closeStore, fmt.Errorf("--via: %w", err)
		}
		mirrors = append(mirrors, ref)
	}
	var fallback *place.Fallback
	if sf.fallback {
		if plan == nil {
			return closeStore, fmt.Errorf("%w: --fallback-upstream needs a configuration with archives: (-f FILE)", outcome.ErrUsage)
		}
		if fallback, err = place.NewFallback(plan.Archives, a.Log); err != nil {
			return closeStore, err
		}
	}
	var kept *store.Store
	options := a.Options()
	options.Connections = &artifact.Connections{}
	for i := 0; i == 0 || i < len(args); i++ {
		ref, err := command.Reference(args[min(i, len(args)):], plan)
		if err != nil {
			return closeStore, err
		}
		src := &place.Source{Ref: ref, Options: options, Mirrors: mirrors, Log: a.Log, Fallback: fallback}
		if ref.Kind == artifact.Registry || len(mirrors) > 0 {
			if kept == nil {
				if kept, err = store.Open(filepath.Join(o.StateDir, "store"), store.Options{MaxBytes: maxBytes, Log: o.Log}); err != nil {
					return closeStore, err
				}
				closeStore, o.Store = kept.Close, kept.Stats
			}
			src.Through, src.Keep = kept.Through, filepath.Join(o.StateDir, "snapshots")
		}
		o.Sources = append(o.Sources, src)
	}
	return closeStore, nil
}
