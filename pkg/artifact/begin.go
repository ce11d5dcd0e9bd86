package artifact

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"example.org/mmoci/pkg/snapshot"
)

// Begun is a layout that is being written to, before it is known what. Nobody
// removes anything from it meanwhile, and files that a push may want to know of
// are looked for while something else goes on.
type Begun struct {
	ref Reference
	w   *layoutWriter // nil: none, or taken by a push
}

// Begin opens a layout for the push that gets it as [PushOptions.Begun], and looks
// for the files of the snapshot that it will replace. It does nothing for other places, and
// where a push looks at the files themselves. Close must be called, after the push.
func Begin(ctx context.Context, ref Reference, replaced *snapshot.Snapshot, o PushOptions) (*Begun, error) {
	if ref.Kind != Layout || o.Recheck {
		return &Begun{}, nil
	}
	w, err := newLayoutWriter(ref.Name, false, &o.Options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	w.survey(ctx, replaced)
	return &Begun{ref, w}, nil
}

// take is the writer, once; nil if there is none, or for another place.
func (b *Begun) take(ref Reference) *layoutWriter {
	if b == nil || b.ref.Name != ref.Name {
		return nil
	}
	w := b.w
	b.w = nil
	return w
}

// Close ends what no push took.
func (b *Begun) Close() error {
	if b.w == nil {
		return nil
	}
	return b.w.close()
}

// survey looks for the files of a snapshot in another goroutine.
func (w *layoutWriter) survey(ctx context.Context, s *snapshot.Snapshot) {
	ctx, w.endSurvey = context.WithCancel(ctx)
	w.surveyed, w.sizes = make(chan struct{}), make(map[snapshot.Digest]int64, s.Table.Len())
	go func() {
		defer close(w.surveyed)
		for r := range s.Table.Rows() {
			if ctx.Err() != nil {
				return
			}
			var st unix.Stat_t
			if err := w.stat(r.Digest, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
				w.sizes[r.Digest] = st.Size
			}
		}
	}()
}

// stat asks by the open directory: this is done for every blob.
func (w *layoutWriter) stat(d snapshot.Digest, st *unix.Stat_t) error {
	return unix.Fstatat(int(w.blobs.Fd()), d.Hex(), st, unix.AT_SYMLINK_NOFOLLOW)
}

// known is the size of a file that was found, once all are looked for.
func (w *layoutWriter) known(d snapshot.Digest) (size int64, ok bool) {
	if w.surveyed == nil {
		return 0, false
	}
	<-w.surveyed
	size, ok = w.sizes[d]
	return size, ok
}
