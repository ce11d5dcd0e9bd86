package inci

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/config/minimirror"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/state"
)

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
func (f *archiveFlags) plan(cmd *cobra.Command, p *command.PlanFlags) (*config.Plan, error) {
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

func (f *archiveFlags) base(cmd *cobra.Command, p *command.PlanFlags) (*config.Plan, error) {
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
	if sources == "" && !single && p.File == "" {
		sources = cmp.Or(os.Getenv("MIRROR_SOURCE_DIR"), os.Getenv("MIRROR_SOURCE_FILE"))
	}
	switch {
	case single && (p.File != "" || f.sources != ""), p.File != "" && f.sources != "":
		return nil, fmt.Errorf("%w: give one of -f, --sources, or --url with its flags", outcome.ErrUsage)
	case single:
		return f.single()
	case sources != "":
		return minimirror.Load(sources, minimirror.Options{AptlyConf: os.Getenv("APTLY_CONFIG_PATH"), AptlyConfFrom: "APTLY_CONFIG_PATH"})
	}
	plan, err := p.Plan()
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

// networkKeys opens the pins of keys that come from the network. Those of the working directory that nobody
// named are refused where others put them there, or may: they decide which key passes, and count more than a lock's.
func networkKeys(p *command.PlanFlags, plan *config.Plan, lock *config.Lock, accept []string) (*signer.NetworkKeys, error) {
	file := plan.KeyPinsPath()
	fetched := slices.ContainsFunc(plan.Archives, func(a config.Archive) bool { return a.SignedByURL != "" }) ||
		slices.ContainsFunc(plan.Others, func(o config.Other) bool { return o.RPM != nil && o.RPM.SignedByURL != "" })
	if fetched && p.File == "" && filepath.Dir(file) == "." {
		if err := state.OwnedHere(os.Geteuid(), file); errors.Is(err, state.ErrForeign) {
			return nil, fmt.Errorf("%w: the %s of this directory pins keys from the network; go to a directory of your own, or name the configuration beside it by -f", err, file)
		}
	}
	return signer.OpenNetworkKeys(file, lock, accept)
}
