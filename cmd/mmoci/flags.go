package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/pkg/artifact"
)

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

// place reads the configuration and the reference that a tag command works on.
func (p *planFlags) place(args []string) (*config.Plan, artifact.Reference, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, artifact.Reference{}, err
	}
	ref, err := reference(args, plan)
	return plan, ref, err
}

// imagesTo is below which repository the images of a snapshot in ref's place are: where the configuration
// says, if it is about that repository or names none.
func imagesTo(plan *config.Plan, ref artifact.Reference) string {
	if plan == nil || plan.Ref == "" {
		return cmp.Or(plan, &config.Plan{}).ImagesTo
	}
	if own, err := artifact.ParseReference(plan.Ref); err == nil && own.Kind == ref.Kind && own.Name == ref.Name {
		return plan.ImagesTo
	}
	return ""
}

func (p *planFlags) imagesTo(ref artifact.Reference) (string, error) {
	plan, err := p.plan()
	if err != nil {
		return "", err
	}
	return imagesTo(plan, ref), nil
}

// placeFlags are where a snapshot is read beside its own place.
type placeFlags struct{ mirrors []string }

func (p *placeFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.mirrors, "via", nil, "`REF` of a place to try first, asked by digest (repeatable, in order)")
}

func (p *placeFlags) references() ([]artifact.Reference, error) {
	var out []artifact.Reference
	for _, m := range p.mirrors {
		ref, err := artifact.ParseReference(m)
		if err != nil {
			return nil, fmt.Errorf("--via: %w", err)
		}
		out = append(out, ref)
	}
	return out, nil
}

// defaultListen is loopback: who serves a site says so.
const defaultListen = "127.0.0.1:8000"
