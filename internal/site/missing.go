package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/place"
	"example.org/mmoci/pkg/artifact"
)

const (
	// maxNamed bounds the tags that are named instead of one that is missing.
	maxNamed = 6
	// namesWait bounds how long a registry is asked for them: the error itself is known.
	namesWait = 5 * time.Second
)

// Instead says what a registry has in the place of a tag that err says is missing, the most similar
// names first; "" if err is about something else, or the registry does not tell.
func Instead(ctx context.Context, err error, o artifact.Options) string {
	missing, ok := errors.AsType[*artifact.MissingError](err)
	if !ok || missing.Repository || missing.Ref.Tag == "" || !missing.Ref.Digest.IsZero() {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, namesWait)
	defer cancel()
	o.Log = nil // that it must be asked again is nothing to tell
	names, err := artifact.TagNames(ctx, missing.Ref, o)
	if unknown, ok := errors.AsType[*artifact.MissingError](err); ok && unknown.Repository || errors.Is(err, artifact.ErrNotFound) {
		return "the registry has no repository " + missing.Ref.Repository() + " that these credentials may see"
	}
	if err != nil {
		return ""
	}
	return "it has " + nearest(missing.Ref.Tag, names)
}

// nearest lists tags: names that are moved before those of one snapshot, similar ones
// first, and of those of one snapshot the newest.
func nearest(wanted string, names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return strings.HasPrefix(name, "sha256-") || strings.HasPrefix(name, "mmoci-") // documents about others, and what a push leaves
	})
	if len(names) == 0 {
		return "no tags"
	}
	fixed := func(name string) bool { _, is := cutDateHex(name); return is }
	wantsFixed := fixed(wanted)
	slices.SortFunc(names, func(a, b string) int {
		if fixed(a) != fixed(b) && !wantsFixed {
			if fixed(a) {
				return 1
			}
			return -1
		}
		stemA, _ := cutDateHex(a)
		stemB, _ := cutDateHex(b)
		if wantsFixed {
			stemA, stemB = a, b
		}
		if c := cmp.Compare(document.Distance(wanted, stemA), document.Distance(wanted, stemB)); c != 0 {
			return c
		}
		if fixed(a) && fixed(b) {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

// cutDateHex takes DATE-HEX12 off the name of a tag, and tells whether it was there.
func cutDateHex(name string) (stem string, found bool) {
	const length = len("20060102T150405Z-0123456789ab")
	at := len(name) - length
	if at < 0 || !place.DateHex.MatchString(name[at:]) {
		return name, false
	}
	return strings.TrimSuffix(name[:at], "-"), true
}
