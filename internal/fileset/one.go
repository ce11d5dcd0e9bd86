package fileset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/upstream"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// one learns digest and size of a file, and proves it if it has a signature.
func (r *reader) one(ctx context.Context, f *file) error {
	locked := r.locked(f.path)
	if f.signature != "" {
		var err error
		if f.proof, err = r.signatureOf(ctx, f); err != nil {
			return fmt.Errorf("signature: %w", err)
		}
	}
	if !f.known {
		return r.unpinned(ctx, f, locked)
	}
	f.blob.Size = -1
	if locked != nil && locked.Digest == f.blob.Digest.String() {
		f.blob.Size = locked.Size
	} else if row, ok := r.previous(f.path); ok && row.Digest == f.blob.Digest {
		f.blob.Size = row.Size
	}
	if f.blob.Size < 0 || r.Check {
		info, err := f.up.Stat(ctx, path.Base(f.path))
		if err != nil {
			return err
		}
		if f.blob.Size >= 0 && info.Size >= 0 && info.Size != f.blob.Size {
			return fmt.Errorf("%w: it has %d bytes, the lock has %d", upstream.ErrChanged, info.Size, f.blob.Size)
		}
		f.blob.Size = max(f.blob.Size, info.Size)
	}
	if f.blob.Size >= 0 && (f.proof == nil || r.isProved(f)) {
		return nil
	}
	return r.fetch(ctx, f, "")
}

// locked is what the lock has of a file; nil: nothing.
func (r *reader) locked(path string) *config.LockFile {
	if r.lock != nil {
		for i := range r.lock.Files {
			if r.lock.Files[i].Path == path {
				return &r.lock.Files[i]
			}
		}
	}
	return nil
}

// previous is what the snapshot before has of a file.
func (r *reader) previous(path string) (snapshot.Row, bool) {
	if r.Previous == nil {
		return snapshot.Row{}, false
	}
	return r.Previous.Table.Find(r.Plan.Prefix + "/" + path)
}

// unpinned learns the digest of a file whose list has none. What the lock has must be what upstream has.
func (r *reader) unpinned(ctx context.Context, f *file, locked *config.LockFile) error {
	info, err := f.up.Stat(ctx, path.Base(f.path))
	if errors.Is(err, upstream.ErrNotFound) && locked != nil {
		if row, ok := r.previous(f.path); ok && row.Digest.String() == locked.Digest {
			r.Log.Printf("%s: %s: upstream has it no more; the snapshot before does", f.at, f.path)
			f.blob, f.known = row.Blob(), true
			return nil
		}
	}
	if err != nil {
		return err
	}
	about := fmt.Sprintf("digest of %s %s %d", f.Of, info.Validator, info.Size)
	digest, size, _ := strings.Cut(r.keep.note(about), " ")
	d, err := snapshot.ParseDigest(digest)
	n, err2 := strconv.ParseInt(size, 10, 64)
	if err == nil && err2 == nil && info.Validator != "" {
		f.blob, f.known = snapshot.Blob{Digest: d, Size: n}, true
	}
	if !f.known || f.proof != nil && !r.isProved(f) {
		f.blob.Size = info.Size
		if err := r.fetch(ctx, f, info.Validator); err != nil {
			return err
		}
		if info.Validator != "" {
			r.keep.remember(about, fmt.Sprintf("%s %d", f.blob.Digest, f.blob.Size))
		}
	}
	if locked != nil && locked.Digest != f.blob.Digest.String() {
		return fmt.Errorf("%w: %s gives %s, the lock has %s; is the change right? Then make the lock anew", outcome.ErrIntegrity, shown(f.Of), f.blob.Digest, locked.Digest)
	}
	if row, ok := r.previous(f.path); ok && locked == nil && row.Digest != f.blob.Digest {
		r.Log.Printf("%s: %s: upstream gives %s, before it was %s", f.at, f.path, f.blob.Digest, row.Digest)
	}
	f.known = true
	return nil
}

// signatureOf reads the detached signature of a file, in armour.
func (r *reader) signatureOf(ctx context.Context, f *file) (sig []byte, err error) {
	_, err = r.readSmall(ctx, path.Base(f.path)+".asc", []string{f.signature}, maxSignature, func(data []byte) (err error) {
		sig, err = pgp.ArmorSignature(data)
		return err
	})
	return sig, err
}

// proofOf is what a note of a file that was proved is about.
func (r *reader) proofOf(f *file) string {
	armor, err := r.ring.Armor()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("proof of %s by %s under %s", f.blob.Digest, snapshot.Sum(f.proof), snapshot.Sum(armor))
}

// isProved tells whether this file was verified by this signature under this key before.
func (r *reader) isProved(f *file) bool {
	signed, err := time.Parse(time.RFC3339, r.keep.note(r.proofOf(f)))
	if err == nil {
		r.newest(signed)
	}
	return err == nil
}

// fetch reads the whole file from the first place that gives the right one.
func (r *reader) fetch(ctx context.Context, f *file, validator string) error {
	for {
		again, err := r.fetchOnce(ctx, f, validator)
		if err == nil || !again {
			return err
		}
	}
}

func (r *reader) fetchOnce(ctx context.Context, f *file, validator string) (again bool, err error) {
	name := unknown(f.Of)
	if f.known {
		name, validator = partOf(f.blob.Digest), "any: the digest tells" // a part of this name is of this file
	}
	var check *pgp.Detached
	var more []io.Writer
	if f.proof != nil {
		if check, err = pgp.NewDetached(f.proof, pgp.Trust{Keyring: r.ring, Now: r.Now}); err != nil {
			return false, err
		}
		more = append(more, check)
	}
	size := f.blob.Size
	got, s, err := r.keep.download(ctx, name, validator, size, r.Log, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if size < 0 || offset == 0 {
			return f.up.Open(ctx, path.Base(f.path), size)
		}
		return f.up.OpenFrom(ctx, path.Base(f.path), size, offset)
	}, more...)
	if err != nil {
		return false, freeze.Mismatch(err)
	}
	var wrong error
	var how pgp.How
	if f.known && got.Digest != f.blob.Digest {
		wrong = fmt.Errorf("%w: %s gives %s, %s %s", outcome.ErrIntegrity, f.up, got.Digest, f.wanted, f.blob.Digest)
	} else if check != nil {
		if how, err = check.How(); err != nil {
			wrong = fmt.Errorf("signature %s: %w", shown(f.signature), err)
		} else {
			r.newest(how.Time)
		}
	}
	if wrong != nil {
		r.keep.sweep(got.Digest)
		return s.distrust(wrong), wrong
	}
	f.blob, f.known = got, true
	if f.proof != nil {
		r.keep.remember(r.proofOf(f), how.Time.UTC().Format(time.RFC3339))
	}
	return false, nil
}

// newest remembers when upstream signed last.
func (r *reader) newest(signed time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if signed.After(r.set.Newest) {
		r.set.Newest = signed
	}
}
