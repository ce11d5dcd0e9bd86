package snapshottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"example.org/mmoci/pkg/snapshot"
)

// Equal compares two snapshots as law 1 means it: statement, table and lock as
// stored, and every file, byte for byte. Roots are compared if both are known. It
// reads everything of both; nil means equal.
func Equal(ctx context.Context, a, b *snapshot.Snapshot) error {
	if !a.Root.IsZero() && !b.Root.IsZero() && a.Root != b.Root {
		return fmt.Errorf("root: %s and %s", a.Root, b.Root)
	}
	if a.Signed != b.Signed || !bytes.Equal(a.StatementBytes, b.StatementBytes) {
		return fmt.Errorf("statement: signed %t and %t\n%s\nand\n%s", a.Signed, b.Signed, a.StatementBytes, b.StatementBytes)
	}
	lockA, errA := a.ReadLock(ctx)
	lockB, errB := b.ReadLock(ctx)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if !bytes.Equal(lockA, lockB) {
		return fmt.Errorf("lock:\n%s\nand\n%s", lockA, lockB)
	}
	if !bytes.Equal(a.Table.Bytes(), b.Table.Bytes()) {
		return fmt.Errorf("table: %d rows in %d bytes and %d rows in %d bytes differ",
			a.Table.Len(), len(a.Table.Bytes()), b.Table.Len(), len(b.Table.Bytes()))
	}
	buffers := new([2][snapshot.HoldBack]byte)
	for r := range a.Table.Rows() {
		if err := equalFile(ctx, a, b, r.Path, buffers); err != nil {
			return fmt.Errorf("file %s: %w", r.Path, err)
		}
	}
	return nil
}

func equalFile(ctx context.Context, a, b *snapshot.Snapshot, path string, buffers *[2][snapshot.HoldBack]byte) (err error) {
	fa, err := a.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fa.Close()) }()
	fb, err := b.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fb.Close()) }()
	return equalBytes(fa, fb, buffers[0][:], buffers[1][:])
}

// equalBytes compares a and b, reading into p and q.
func equalBytes(a, b io.Reader, p, q []byte) error {
	for at := int64(0); ; {
		n, errA := io.ReadFull(a, p)
		if errA != nil && !isEnd(errA) {
			return errA
		}
		m, errB := io.ReadFull(b, q)
		if errB != nil && !isEnd(errB) {
			return errB
		}
		if !bytes.Equal(p[:n], q[:m]) {
			return fmt.Errorf("differ after %d bytes", at)
		}
		if isEnd(errA) && isEnd(errB) {
			return nil
		}
		at += int64(n)
	}
}

// isEnd tells what io.ReadFull returns when a reader ends in io.EOF.
func isEnd(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
