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
	Builders builds.Trust         // whose builds count
	// To is where a build is put that was made here, signed by Signer; it is asked, too. Nil: nowhere.
	To          *artifact.Reference
	Signer      pgp.Signer
	BuilderName string // a word for the statement
	Native      string // this machine's architecture, the only one that sbuild builds for
	Rebuild     bool   // Get builds it even if it is there
	Build       BuildOptions
	Log         outcome.Log
}

// Use gives the first build of an identity that counts, of the places and To. Errors are those of [builds.Use].
func (o *GetOptions) Use(ctx context.Context, id snapshot.Digest) (*builds.Found, error) {
	asked := o.Places
	if o.To != nil && !slices.Contains(asked, *o.To) {
		asked = append(slices.Clip(asked), *o.To)
	}
	found, err := builds.Use(ctx, asked, id, o.Builders, o.Artifact, o.Log)
	if err == nil {
		o.Log.Printf("%s: found in %s, signed by %s", id, builds.PlaceOf(found.Reference), strings.Join(found.Builders, ", "))
	}
	return found, err
}

// Find gives what a place has of the source, if it counts; nil if it has to be built.
//
// Errors: outcome.ErrIntegrity for what lies at a place and does not count.
func (s *Source) Find(ctx context.Context, o GetOptions) (*builds.Found, error) {
	id := s.Identity.Digest()
	if len(o.Places) == 0 && o.To == nil {
		o.Log.Printf("%s: it is built here", id)
		return nil, nil
	}
	found, err := o.Use(ctx, id)
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil, errors.Is(err, outcome.ErrIntegrity):
		return nil, err
	case errors.Is(err, outcome.ErrNotFound):
		o.Log.Printf("%v; it is built here", err)
	default: // the places that could not be asked were told of
		o.Log.Printf("%s: it is built here", id)
	}
	return nil, nil
}

// Made is a build that was made here.
type Made struct {
	*builds.Local
	Put *builds.Put // where it lies; nil: in its directory alone
}

// Make builds the source into a directory, as [Source.Build] does, and puts what was built to where the options say.
//
// Errors: outcome.ErrUsage for an architecture that is not built here; those of [builds.Writable], before anything is built, of
// [Source.Build], and of Put.
func (s *Source) Make(ctx context.Context, dir string, o GetOptions) (*Made, error) {
	id := s.Identity
	if len(o.Build.Command) == 0 && id.HostArch != o.Native {
		return nil, fmt.Errorf("%w: sbuild builds for this machine's architecture, %s, and not for %s: build %s %s on a machine of that one, or by a program of yours", outcome.ErrUsage, o.Native, id.HostArch, id.Source, id.Version)
	}
	if o.To != nil {
		if err := builds.Writable(ctx, *o.To, id, o.Artifact); err != nil {
			return nil, fmt.Errorf("what is built could not be put into %s: %w", builds.PlaceOf(*o.To), err)
		}
	}
	start := time.Now()
	local, err := s.Build(ctx, dir, o.Build)
	if err != nil {
		return nil, fmt.Errorf("build of %s %s: %w", id.Source, id.Version, err)
	}
	o.Log.Printf("%s: %s %s is built, %.1f s", id.Digest(), id.Source, id.Version, time.Since(start).Seconds())
	made := &Made{Local: local}
	if o.To == nil {
		return made, nil
	}
	made.Put, err = local.Put(ctx, *o.To, builds.PutOptions{Artifact: o.Artifact, Signer: o.Signer, Builder: o.BuilderName, Date: time.Now(), Log: o.Log})
	if err != nil {
		return nil, err
	}
	made.Put.Tell(o.Log)
	return made, nil
}

// Got is where a build lies that was found or made.
type Got struct {
	Reference *artifact.Reference // nil: in a directory alone
	put       *builds.Put
}

// Differs is the error of a build that others made otherwise; nil: they did not.
func (g *Got) Differs() error {
	if g.put == nil {
		return nil
	}
	return g.put.Differs()
}

// Get gives what is built of the source: what a place has, if it counts, else what is built here and then put. dir is where it is written, "" if nowhere.
//
// Errors: those of [Source.Find] and [Source.Make].
func (s *Source) Get(ctx context.Context, dir string, o GetOptions) (*Got, error) {
	if !o.Rebuild {
		found, err := s.Find(ctx, o)
		if err != nil {
			return nil, err
		}
		if found != nil {
			if dir != "" {
				err = found.WriteTo(ctx, dir, nil)
			}
			return &Got{Reference: &found.Reference}, err
		}
	}
	if dir == "" {
		tmp, err := os.MkdirTemp(o.Build.Dir, "mmoci-source-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(tmp)
		dir = filepath.Join(tmp, "out")
	}
	made, err := s.Make(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	got := &Got{put: made.Put}
	if made.Put != nil {
		got.Reference = &made.Put.Reference
	}
	return got, nil
}
