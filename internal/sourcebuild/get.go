package sourcebuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/builds"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// GetOptions say where a build is looked for, and where it is put.
type GetOptions struct {
	Artifact artifact.Options
	Places   []artifact.Reference // asked in their order
	Trust    builds.Trust         // whose builds count
	// To is where a build is put that was made here, signed by Signer; it is asked, too. Nil: nowhere.
	To          *artifact.Reference
	Signer      pgp.Signer
	BuilderName string // a word for the statement
	Rebuild     bool   // build it even if it is there
	Build       BuildOptions
	Log         outcome.Log
}

// Got is a build that was found or made.
type Got struct {
	Found     *builds.Found       // nil: it was built here
	Reference *artifact.Reference // where it lies; nil: in a directory alone
	put       *builds.Put
}

// Differs is the error of a build that others made otherwise; nil: they did not.
func (g *Got) Differs() error {
	if g.put == nil {
		return nil
	}
	return g.put.Differs()
}

// Get gives what is built of the source: what a place has, if it counts, else what is built here and then put. dir is where it is
// written, "" if nowhere.
//
// Errors: outcome.ErrIntegrity for what lies at a place and does not count; those of [Source.Build].
func (s *Source) Get(ctx context.Context, dir string, o GetOptions) (*Got, error) {
	id := s.Identity.Digest()
	asked := o.Places
	if o.To != nil && !slices.Contains(asked, *o.To) {
		asked = append(asked[:len(asked):len(asked)], *o.To)
	}
	if !o.Rebuild && len(asked) > 0 {
		found, err := builds.Use(ctx, asked, id, o.Trust, o.Artifact, o.Log)
		switch {
		case err == nil:
			o.Log.Printf("%s: found in %s, signed by %s", id, builds.PlaceOf(found.Reference), strings.Join(found.Builders, ", "))
			if dir != "" {
				err = found.WriteTo(ctx, dir, nil)
			}
			return &Got{Found: found, Reference: &found.Reference}, err
		case ctx.Err() != nil, errors.Is(err, outcome.ErrIntegrity):
			return nil, err
		}
		o.Log.Printf("%v; it is built here", err)
	} else {
		o.Log.Printf("%s: it is built here", id)
	}
	return s.make(ctx, dir, id, o)
}

func (s *Source) make(ctx context.Context, dir string, id snapshot.Digest, o GetOptions) (*Got, error) {
	if dir == "" {
		tmp, err := os.MkdirTemp(o.Build.Dir, "mmoci-source-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(tmp)
		dir = filepath.Join(tmp, "out")
	}
	start := time.Now()
	local, err := s.Build(ctx, dir, o.Build)
	if err != nil {
		return nil, fmt.Errorf("build of %s %s: %w", s.Identity.Source, s.Identity.Version, err)
	}
	o.Log.Printf("%s: %s %s is built, %.1f s", id, s.Identity.Source, s.Identity.Version, time.Since(start).Seconds())
	got := &Got{}
	if o.To == nil {
		return got, nil
	}
	put, err := local.Put(ctx, *o.To, builds.PutOptions{Artifact: o.Artifact, Signer: o.Signer, Builder: o.BuilderName, Date: time.Now(), Log: o.Log})
	if err != nil {
		return nil, err
	}
	put.Tell(o.Log)
	got.Reference, got.put = &put.Reference, put
	return got, nil
}
