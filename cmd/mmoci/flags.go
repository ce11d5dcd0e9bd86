package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/pkg/artifact"
)

// registryFlags say how registries are reached.
type registryFlags struct {
	plainHTTP bool
	caFile    string
	workers   int
}

func (r *registryFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&r.plainHTTP, "plain-http", false, "reach the registry over http beyond loopback too")
	f.StringVar(&r.caFile, "ca-file", "", "PEM file of a CA to trust for the registry")
	f.IntVar(&r.workers, "workers", 0, "transfers at once (default 8)")
}

func (a *app) options() artifact.Options {
	return artifact.Options{
		PlainHTTP: a.registry.plainHTTP, CAFile: a.registry.caFile, Concurrency: a.registry.workers, Log: a.log, Connections: &a.connections,
	}
}

// planFlags are -f and what readers take from the configuration.
type planFlags struct {
	file     string
	keyrings []string
	unsigned bool
	maxAge   time.Duration
}

func (p *planFlags) flags(f *pflag.FlagSet) {
	f.StringVarP(&p.file, "file", "f", "", "configuration (default: mmoci.yaml here, else /etc/mmoci/mmoci.yaml)")
}

func (p *planFlags) trustFlags(f *pflag.FlagSet) {
	p.flags(f)
	p.believeFlags(f)
}

// believeFlags are what a reader takes for trust.
func (p *planFlags) believeFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.keyrings, "keyring", nil, "`[PREFIX=]FILE`: the site's keys, or upstream's for a prefix")
	f.BoolVar(&p.unsigned, "insecure-unsigned", false, "believe a snapshot that nobody signed")
	durationVar(f, &p.maxAge, "max-age", "refuse a snapshot that is older, such as 7d (default: any age)")
}

// plan loads the configuration; nil if there is none and none was named.
func (p *planFlags) plan() (*config.Plan, error) {
	file := p.file
	if file == "" {
		if file = config.Find(); file == "" {
			return nil, nil
		}
		if err := state.OwnedHere(os.Geteuid(), file); err != nil {
			return nil, fmt.Errorf("%w: the mmoci.yaml of this directory is not taken without being named; -f %s takes it, if you know whose it is", err, file)
		}
	}
	return config.Load(file)
}

// trust collects what this reader relies on.
func (p *planFlags) trust(plan *config.Plan) (prove.Trust, error) {
	t, err := prove.NewTrust(plan, p.keyrings, time.Now())
	t.Unsigned, t.MaxAge = p.unsigned, p.maxAge
	return t, err
}

// reference is the argument, or ref: of the configuration.
func reference(args []string, plan *config.Plan) (artifact.Reference, error) {
	switch {
	case len(args) > 0:
		return artifact.ParseReference(args[0])
	case plan != nil && plan.Ref != "":
		return configured(plan)
	}
	return artifact.Reference{}, fmt.Errorf("%w: no reference: give one (registry.example.org/site/mirror:noble, oci:DIR, oci-archive:FILE) or ref: in mmoci.yaml", outcome.ErrUsage)
}

// configured reads ref: of a configuration, a path in it relative to the file
// as every path there.
func configured(plan *config.Plan) (artifact.Reference, error) {
	ref, err := artifact.ParseReference(plan.Ref)
	if err != nil {
		return ref, fmt.Errorf("%s: ref: %w", plan.File, err)
	}
	if ref.Kind != artifact.Registry && plan.File != "" && !filepath.IsAbs(ref.Name) {
		ref.Name = filepath.Join(filepath.Dir(plan.File), ref.Name)
	}
	return ref, nil
}

// archiveFlags describe one archive without a file.
type archiveFlags struct {
	sources                             string
	url, prefix, keyring                string
	suites, components, archs, packages []string
	verbatim, withSources, recommends   bool
	signKey, strategy                   string
}

func (f *archiveFlags) flags(s *pflag.FlagSet) {
	s.StringVar(&f.sources, "sources", "", "mini-mirror sources/ `DIR` in place of a configuration")
	s.StringVar(&f.url, "url", "", "upstream: http(s)://, or a directory")
	s.StringVar(&f.prefix, "prefix", "", "prefix of the archive")
	s.StringArrayVar(&f.suites, "suite", nil, "suite (repeatable)")
	s.StringArrayVar(&f.components, "component", nil, "component (repeatable)")
	s.StringArrayVar(&f.archs, "arch", nil, "architecture (repeatable)")
	s.StringVar(&f.keyring, "keyring", "", "upstream's keyring `FILE`, or a URL (pinned by fingerprint in mmoci.keys)")
	s.StringArrayVar(&f.packages, "package", nil, "package `QUERY` (repeatable), or all")
	s.BoolVar(&f.verbatim, "verbatim", false, "keep the archive under upstream's own signature")
	s.BoolVar(&f.withSources, "with-sources", false, "take the source packages of what is chosen, too")
	s.BoolVar(&f.recommends, "recommends", false, "take Recommends into the closure")
	s.StringVar(&f.strategy, "strategy", "", "`ORDER` in which mirrors and upstreams are asked for each file: mirror, mirror-first, upstream or upstream-first")
	s.StringVar(&f.signKey, "sign-key", "", "the site's signing key `FILE`")
}

// plan makes the plan that push works from: of flags, a sources/ tree, or the configuration.
func (f *archiveFlags) plan(cmd *cobra.Command, p *planFlags) (*config.Plan, error) {
	plan, err := f.base(cmd, p)
	if err != nil {
		return nil, err
	}
	if f.signKey != "" {
		plan.Sign = &config.Sign{Key: f.signKey}
	} else if plan.Sign == nil {
		if plan.Sign, err = releaseKey(); err != nil {
			return nil, err
		}
	}
	if f.strategy != "" {
		if err := plan.SetStrategy(f.strategy); err != nil {
			return nil, fmt.Errorf("--strategy: %w", err)
		}
	}
	plan.Recommends = plan.Recommends || f.recommends
	for i := range plan.Archives {
		if a := &plan.Archives[i]; f.withSources && a.Debs == "" {
			a.WithSources = true
		}
	}
	return plan, nil
}

// releaseKey is the signing key that the mini-mirror's environment names, for which its documentation has two names;
// nil if it names none.
func releaseKey() (*config.Sign, error) {
	file, prose := os.Getenv("RELEASE_SIGN_KEY_PATH"), os.Getenv("RELEASE_SIGN_KEY")
	name := "RELEASE_SIGN_KEY_PATH"
	if file == "" {
		file, name = prose, "RELEASE_SIGN_KEY"
	}
	switch {
	case file == "":
		return nil, nil
	case strings.Contains(file, "\n") || strings.Contains(file, "-----BEGIN"):
		return nil, fmt.Errorf("%w: %s holds a key; write the key into a file and its name into %s", outcome.ErrUsage, name, name)
	case prose != "" && prose != file:
		return nil, fmt.Errorf("%w: RELEASE_SIGN_KEY_PATH names %s and RELEASE_SIGN_KEY %s; unset one of them", outcome.ErrUsage, file, prose)
	}
	return &config.Sign{Key: file}, nil
}

func (f *archiveFlags) base(cmd *cobra.Command, p *planFlags) (*config.Plan, error) {
	given := func(names ...string) bool {
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				return true
			}
		}
		return false
	}
	single := given("url", "prefix", "suite", "component", "arch", "keyring", "package", "verbatim")
	sources := f.sources
	if sources == "" && !single && p.file == "" {
		sources = cmp.Or(os.Getenv("MIRROR_SOURCE_DIR"), os.Getenv("MIRROR_SOURCE_FILE"))
	}
	switch {
	case single && (p.file != "" || f.sources != ""), p.file != "" && f.sources != "":
		return nil, fmt.Errorf("%w: give one of -f, --sources, or --url with its flags", outcome.ErrUsage)
	case single:
		return f.single()
	case sources != "":
		return config.LoadSources(sources, config.SourcesOptions{AptlyConf: os.Getenv("APTLY_CONFIG_PATH"), AptlyConfFrom: "APTLY_CONFIG_PATH"})
	}
	plan, err := p.plan()
	if err == nil && plan == nil {
		err = fmt.Errorf("%w: no mmoci.yaml here or in /etc/mmoci (mmoci init makes one), and no --url", outcome.ErrUsage)
	}
	return plan, err
}

func (f *archiveFlags) single() (*config.Plan, error) {
	a := config.Archive{
		Position: document.Position{File: "flags"}, Prefix: f.prefix, Verbatim: f.verbatim, Suites: f.suites,
		Components: f.components, Architectures: f.archs, SignedBy: f.keyring, CheckValidUntil: true,
	}
	if f.url != "" {
		a.URLs = []string{f.url}
	}
	if isURL := strings.HasPrefix(f.keyring, "https://") || strings.HasPrefix(f.keyring, "http://"); isURL {
		a.SignedBy, a.SignedByURL = "", f.keyring
	}
	if len(f.packages) == 1 && f.packages[0] == "all" {
		a.All, f.packages = true, nil
	}
	for _, q := range f.packages {
		a.Packages = append(a.Packages, config.Query{Text: q, Position: document.Position{File: "--package"}})
	}
	plan := &config.Plan{Archives: []config.Archive{a}}
	return plan, plan.Validate()
}

// parseDate reads --date.
func parseDate(s string) (date time.Time, auto bool, err error) {
	switch s {
	case "":
		return time.Time{}, false, nil
	case "auto":
		return time.Time{}, true, nil
	}
	for _, layout := range []string{time.RFC3339, "20060102T150405Z", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Second), false, nil
		}
	}
	return time.Time{}, false, fmt.Errorf("%w: --date %q is not like 2026-11-21T09:13:40Z", outcome.ErrUsage, s)
}

// readLock reads a lock file; nil if none is named.
func readLock(file string) (*config.Lock, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w (mmoci lock -o %s makes one)", outcome.ErrUsage, err, file)
	}
	if err != nil {
		return nil, err
	}
	return config.ParseLock(file, data)
}

// durationFlag is a time span on the command line, written as in mmoci.yaml: 7d, 2w, 36h.
type durationFlag time.Duration

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *durationFlag) Type() string { return "duration" }

func (d *durationFlag) Set(s string) error {
	v, err := document.ParseDuration(s)
	*d = durationFlag(v)
	return err
}

// durationVar defines a flag; what *dst holds is its default.
func durationVar(f *pflag.FlagSet, dst *time.Duration, name, usage string) {
	f.Var((*durationFlag)(dst), name, usage)
}

// sizeOf reads the size that a flag was given; "" is 0, none.
func sizeOf(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := document.ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: is %q, %w", outcome.ErrUsage, flag, s, err)
	}
	return n, nil
}

// networkKeys opens the pins of keys that come from the network. Those of the working directory that nobody
// named are refused where others put them there, or may: they decide which key passes, and count more than a lock's.
func networkKeys(p *planFlags, plan *config.Plan, lock *config.Lock, accept []string) (*signer.NetworkKeys, error) {
	file := plan.KeyPinsPath()
	fetched := slices.ContainsFunc(plan.Archives, func(a config.Archive) bool { return a.SignedByURL != "" })
	if fetched && p.file == "" && filepath.Dir(file) == "." {
		if err := state.OwnedHere(os.Geteuid(), file); errors.Is(err, state.ErrForeign) {
			return nil, fmt.Errorf("%w: the %s of this directory pins keys from the network; go to a directory of your own, or name the configuration beside it by -f", err, file)
		}
	}
	return signer.OpenNetworkKeys(file, lock, accept)
}
