package builds

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Find asks places in their order whether they have something for an identity, and gives the first that has: one request each, which
// reads nothing. A place that cannot be asked is told of, and the next one is asked.
//
// Errors: outcome.ErrNotFound if all were asked and none has it; else that of the places that could not be asked.
func Find(ctx context.Context, list []artifact.Reference, identity snapshot.Digest, o artifact.Options, log outcome.Log) (artifact.Reference, error) {
	s := search{identity: identity, log: log}
	for _, place := range list {
		there, err := Has(ctx, place, identity, o)
		if there {
			return place, nil
		}
		if err := s.next(ctx, place, err); err != nil {
			return place, err
		}
	}
	return artifact.Reference{}, s.end()
}

// Use gives the first build of an identity that counts. A place that has something else for it is an error, not a miss: somebody put it
// there.
//
// Errors: those of [Find] and [Read].
func Use(ctx context.Context, list []artifact.Reference, identity snapshot.Digest, t Trust, o artifact.Options, log outcome.Log) (*Found, error) {
	s := search{identity: identity, log: log}
	var few error
	for _, place := range list {
		f, err := Read(ctx, place, identity, t, o)
		switch {
		case err == nil:
			for _, line := range f.Others {
				log.Printf("%s: %s", PlaceOf(place), line)
			}
			return f, nil
		case errors.Is(err, outcome.ErrIntegrity):
			return nil, err
		case errors.Is(err, ErrUnconfirmed):
			few, err = err, nil
		case errors.Is(err, outcome.ErrNotFound):
			err = nil
		}
		if err := s.next(ctx, place, err); err != nil {
			return nil, err
		}
	}
	if few != nil {
		return nil, few
	}
	return nil, s.end()
}

// search is what was learned of places that do not have an identity.
type search struct {
	identity snapshot.Digest
	log      outcome.Log
	asked    []string
	failed   []error
}

// next takes what came of a place that does not have it.
func (s *search) next(ctx context.Context, place artifact.Reference, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.log.Printf("%s cannot be asked: %v", PlaceOf(place), err)
		s.failed = append(s.failed, fmt.Errorf("%s: %w", PlaceOf(place), err))
		return nil
	}
	s.asked = append(s.asked, PlaceOf(place))
	return nil
}

func (s *search) end() error {
	if len(s.failed) > 0 {
		return fmt.Errorf("%s: it is not where it could be asked for: %w", s.identity, errors.Join(s.failed...))
	}
	where := "no place is named"
	if len(s.asked) > 0 {
		where = "not in " + strings.Join(s.asked, ", ")
	}
	return fmt.Errorf("%s: %w: %s", s.identity, outcome.ErrNotFound, where)
}
