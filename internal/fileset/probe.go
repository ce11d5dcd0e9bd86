package fileset

import (
	"context"
	"fmt"
	"path"

	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/internal/upstream"
)

// Probe verifies the lists of an archive and asks for each file and each signature whether it is there, without reading a file. It tells in words
// what was found. places are what was asked; they are known where the lists could be read. Options.Dir is not used.
func Probe(ctx context.Context, o Options) (text string, places []*upstream.Upstream, err error) {
	r, err := newReader(o)
	if err != nil {
		return "", nil, err
	}
	files, err := r.listed(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, f := range files {
		places = append(places, f.up)
	}
	err = r.lookAt(ctx, files, func(ctx context.Context, f *file) error {
		_, err := f.up.Stat(ctx, path.Base(f.path))
		if err == nil && f.signature != "" {
			_, err = r.signatureOf(ctx, f)
		}
		return err
	})
	if err != nil {
		return "", places, err
	}
	lacking := 0
	for _, f := range files {
		if f.err != nil {
			lacking++
			if err == nil {
				err = fmt.Errorf("%s: %s: %w", f.at, f.path, f.err)
			}
		}
	}
	if lacking > 1 {
		err = fmt.Errorf("%w; and %s more", err, terminal.Count(lacking-1, "file"))
	}
	text = terminal.Count(len(files), "file") + " can be had"
	if n := len(r.Plan.Sums); n > 0 {
		text += fmt.Sprintf(", the signature of %s good", terminal.Count(n, "list"))
	}
	return text, places, err
}
