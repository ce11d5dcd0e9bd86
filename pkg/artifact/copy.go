package artifact

import (
	"context"
	"fmt"
)

// Copied is the outcome of a copy.
type Copied = Pushed

// Copy copies the whole artifact src names to dst, bytes unchanged and
// verified, and only what dst lacks. dst's tag is set last, after its immutable tag. The signature is not verified.
func Copy(ctx context.Context, src, dst Reference, o Options) (Copied, error) {
	if err := checkTarget(dst); err != nil {
		return Copied{}, err
	}
	from, err := openPlace(src, &o)
	if err != nil {
		return Copied{}, err
	}
	p, err := readArtifact(ctx, from, src, &o)
	if err != nil {
		return Copied{}, err
	}
	copied, err := (&Packed{*p}).Push(ctx, dst, PushOptions{Options: o})
	if err != nil {
		return copied, fmt.Errorf("copy of %s: %w", src, err)
	}
	return copied, nil
}
