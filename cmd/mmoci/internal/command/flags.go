package command

import (
	"cmp"
	"errors"
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

// PlanFlags are -f and what readers take from the configuration.
type PlanFlags struct {
	File     string
	Keyrings []string
	Unsigned bool
	maxAge   time.Duration
	byConfig bool // File is named by --config; -f is another file's
}

func (p *PlanFlags) Flags(f *pflag.FlagSet) {
	f.StringVarP(&p.File, "file", "f", "", "configuration (default: mmoci.yaml here, else /etc/mmoci/mmoci.yaml)")
}

// ConfigFlag is Flags of a command whose -f is another file's. names is what the file is read for.
func (p *PlanFlags) ConfigFlag(f *pflag.FlagSet, names string) {
	p.byConfig = true
	f.StringVar(&p.File, "config", "", "the mmoci.yaml `FILE` that names "+names+" (default: mmoci.yaml here, else /etc/mmoci/mmoci.yaml)")
}

func (p *PlanFlags) TrustFlags(f *pflag.FlagSet) {
	p.Flags(f)
	p.BelieveFlags(f)
}

// BelieveFlags are what a reader takes for trust.
func (p *PlanFlags) BelieveFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.Keyrings, "keyring", nil, "`[PREFIX=]FILE`: the site's keys, or upstream's for a prefix")
	f.BoolVar(&p.Unsigned, "insecure-unsigned", false, "believe a snapshot that nobody signed")
	DurationVar(f, &p.maxAge, "max-age", "refuse a snapshot that is older, such as 7d (default: any age)")
}

// Plan loads the configuration; nil if there is none and none was named.
func (p *PlanFlags) Plan() (*config.Plan, error) {
	file := p.File
	if file == "" {
		if file = config.Find(); file == "" {
			return nil, nil
		}
		if err := state.OwnedHere(os.Geteuid(), file); err != nil {
			by := "-f"
			if p.byConfig {
				by = "--config"
			}
			return nil, fmt.Errorf("%w: the mmoci.yaml of this directory is not taken without being named; %s %s takes it, if you know whose it is", err, by, file)
		}
	}
	return config.Load(file)
}

// Trust collects what this reader relies on.
func (p *PlanFlags) Trust(plan *config.Plan) (prove.Trust, error) {
	t, err := prove.NewTrust(plan, p.Keyrings, time.Now())
	t.Unsigned, t.MaxAge = p.Unsigned, p.maxAge
	return t, err
}

var errNoReference = errors.New("no reference")

// Reference is the argument, or ref: of the configuration.
func Reference(args []string, plan *config.Plan) (artifact.Reference, error) {
	switch {
	case len(args) > 0:
		return artifact.ParseReference(args[0])
	case plan != nil && plan.Ref != "":
		return Configured(plan)
	}
	return artifact.Reference{}, fmt.Errorf("%w: %w: give one (registry.example.org/site/mirror:noble, oci:DIR, oci-archive:FILE) or ref: in mmoci.yaml", outcome.ErrUsage, errNoReference)
}

// Configured reads ref: of a configuration, a path in it relative to the file
// as every path there.
func Configured(plan *config.Plan) (artifact.Reference, error) {
	ref, err := artifact.ParseReference(plan.Ref)
	if err != nil {
		return ref, fmt.Errorf("%s: ref: %w", plan.File, err)
	}
	if ref.Kind != artifact.Registry && plan.File != "" && !filepath.IsAbs(ref.Name) {
		ref.Name = filepath.Join(filepath.Dir(plan.File), ref.Name)
	}
	return ref, nil
}

// ParseDate reads --date.
func ParseDate(s string) (date time.Time, auto bool, err error) {
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

// DurationVar defines a flag; what *dst holds is its default.
func DurationVar(f *pflag.FlagSet, dst *time.Duration, name, usage string) {
	f.Var((*durationFlag)(dst), name, usage)
}

// SizeOf reads the size that a flag was given; "" is 0, none.
func SizeOf(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := document.ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: is %q, %w", outcome.ErrUsage, flag, s, err)
	}
	return n, nil
}

// Place reads the configuration and the reference that a tag command works on.
func (p *PlanFlags) Place(args []string) (*config.Plan, artifact.Reference, error) {
	plan, err := p.Plan()
	if err != nil {
		return nil, artifact.Reference{}, err
	}
	ref, err := Reference(args, plan)
	return plan, ref, err
}

// ImagesTo is below which repository the images of a snapshot in ref's place are: where the configuration
// says, if it is about that repository or names none.
func ImagesTo(plan *config.Plan, ref artifact.Reference) string {
	if plan == nil || plan.Ref == "" {
		return cmp.Or(plan, &config.Plan{}).ImagesTo
	}
	if own, err := artifact.ParseReference(plan.Ref); err == nil && own.Kind == ref.Kind && own.Name == ref.Name {
		return plan.ImagesTo
	}
	return ""
}

func (p *PlanFlags) ImagesTo(ref artifact.Reference) (string, error) {
	plan, err := p.Plan()
	if err != nil {
		return "", err
	}
	return ImagesTo(plan, ref), nil
}

// PlaceFlags are where a snapshot is read beside its own place.
type PlaceFlags struct{ mirrors []string }

func (p *PlaceFlags) Flags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.mirrors, "via", nil, "`REF` of a place to try first, asked by digest (repeatable, in order)")
}

func (p *PlaceFlags) references() ([]artifact.Reference, error) {
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

// DefaultListen is loopback: who serves a site says so.
const DefaultListen = "127.0.0.1:8000"
