package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// static exports a release's number of small packages from a layout on the same disk, and again, against cp -al of the layout.
func (b *bench) static(ctx context.Context) error {
	many := generated{packages: b.size(63440), bytes: int64(190e6 * b.scale), suite: "bookworm"}
	top, err := fresh(filepath.Join(b.disk, "static"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	archive, layout := filepath.Join(top, "archive"), filepath.Join(top, "layout")
	if err := b.generate(ctx, many, archive, 0); err != nil {
		return err
	}
	if err := b.site(top, archive, "oci:"+layout+":bench", "all"); err != nil {
		return err
	}
	run := func(args ...string) (cost, error) {
		syscall.Sync() // what was written before is not this one's
		took, _, err := command{dir: top, env: []string{"XDG_STATE_HOME=" + filepath.Join(top, "state")}, args: args}.run(ctx)
		return took, err
	}
	if _, err := run(b.mmoci, "push", "-q"); err != nil {
		return err
	}
	first := b.table.figure(figure{name: fmt.Sprintf("export --static of %d files, by links", many.packages), unit: millis, bar: 1.5, with: "cp -al of the layout, which syncs nothing"})
	again := b.table.figure(figure{name: "export --static again, unchanged", unit: millis, most: 300})
	var took, peer cost
	tree, copied := filepath.Join(top, "tree"), filepath.Join(top, "copy")
	ours := func(int) (err error) {
		if took, err = run(b.mmoci, "export", "-q", "--static", tree, "--link", "oci:"+layout+":bench"); err != nil {
			return err
		}
		unchanged, err := run(b.mmoci, "export", "-q", "--static", tree, "--link", "oci:"+layout+":bench")
		again.alone(inMillis(unchanged.wall))
		return err
	}
	theirs := func(int) (err error) {
		peer, err = run("cp", "-al", layout, copied)
		return err
	}
	for i := range min(b.pairs, 5) {
		sides := []func(int) error{ours, theirs}
		for j := range sides {
			if err := sides[(i+j)%2](i); err != nil {
				return err
			}
		}
		first.pair(inMillis(took.wall), inMillis(peer.wall))
		for _, dir := range []string{tree, copied} {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}
