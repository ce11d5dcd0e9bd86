package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
)

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
	v, err := config.ParseDuration(s)
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
	n, err := config.ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: is %q, %w", mirror.ErrUsage, flag, s, err)
	}
	return n, nil
}
