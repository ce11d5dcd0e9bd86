package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ulikunitz/xz"

	"example.org/mmoci/pkg/artifact"
)

// scaled pushes a small and a whole release's number of small packages to a
// registry, and opens the large one.
func (b *bench) scaled(ctx context.Context) error {
	few := generated{packages: b.size(20000), bytes: int64(60e6 * b.scale), suite: "bookworm"}
	many := generated{packages: b.size(63440), bytes: int64(190e6 * b.scale), suite: "bookworm"}
	top, err := fresh(filepath.Join(b.tmp, "scale"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	for _, g := range []generated{few, many} {
		if err := b.generate(ctx, g, filepath.Join(top, fmt.Sprint(g.packages)), 0); err != nil {
			return err
		}
	}
	dir, err := fresh(filepath.Join(top, "registry"))
	if err != nil {
		return err
	}
	r, err := distribution(dir)
	if err != nil {
		return err
	}
	defer r.stop()
	push := func(g generated, i int) (cost, error) {
		site := filepath.Join(top, fmt.Sprint("site", g.packages))
		ref := fmt.Sprintf("%s/site/n%d-%d:bench", r.host(), g.packages, i)
		if err := b.site(site, filepath.Join(top, fmt.Sprint(g.packages)), ref, "all"); err != nil {
			return cost{}, err
		}
		took, _, err := command{dir: site, env: []string{"XDG_STATE_HOME=" + filepath.Join(site, "state")}, args: []string{b.mmoci, "push", "-q"}}.run(ctx)
		return took, err
	}
	wall := b.table.figure(figure{name: fmt.Sprintf("push of %d small packages to a registry, time per package", many.packages), unit: "us", bar: 1.2, with: fmt.Sprintf("the same with %d", few.packages)})
	peak := b.table.figure(figure{name: "push of a release: peak memory", unit: mebi, most: 192})
	for i := range min(b.pairs, 3) { // minutes each
		a, err := push(many, i)
		if err != nil {
			return err
		}
		c, err := push(few, i)
		if err != nil {
			return err
		}
		wall.pair(a.wall.Seconds()*1e6/float64(many.packages), c.wall.Seconds()*1e6/float64(few.packages))
		peak.alone(inMebi(a.peak))
	}
	return b.openLarge(ctx, r, many, filepath.Join(top, fmt.Sprint(many.packages)))
}

// openLarge goes from a tag to the first byte of a .deb, against reading the
// index that a client without a table would have to read.
func (b *bench) openLarge(ctx context.Context, r *server, g generated, archive string) error {
	open := b.table.figure(figure{name: fmt.Sprintf("open %d packages, tag to first byte of a .deb", g.packages), unit: millis, bar: 0.15, with: "reading its Packages.xz"})
	asked := b.table.figure(figure{name: "open: requests", unit: count, most: 5})
	m := g.members(0)[g.packages/2]
	measure := func() error {
		_, out, err := command{args: []string{b.self, "open", fmt.Sprintf("%s/site/n%d-0:bench", r.host(), g.packages), "bench/" + m.file(),
			filepath.Join(archive, "dists/bookworm/main/binary-amd64/Packages.xz"), m.name}}.run(ctx)
		if err != nil {
			return err
		}
		var ours, theirs float64
		if _, err := fmt.Sscan(string(out), &ours, &theirs); err != nil {
			return err
		}
		open.pair(ours, theirs)
		return nil
	}
	for range b.pairs {
		n, err := r.asked(measure)
		if err != nil {
			return err
		}
		asked.alone(n)
	}
	return nil
}

// partOpen: REF PATH PACKAGES.XZ NAME; prints the milliseconds of both.
func partOpen(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("open REF PATH PACKAGES.XZ NAME")
	}
	began := time.Now()
	ref, err := artifact.ParseReference(args[0])
	if err != nil {
		return err
	}
	sealed, err := artifact.Open(ctx, ref, artifact.Options{})
	if err != nil {
		return err
	}
	s, err := sealed.Unseal(nil)
	if err != nil {
		return err
	}
	f, err := s.Open(ctx, args[1])
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
		return err
	}
	ours := time.Since(began)
	f.Close()

	began = time.Now()
	data, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	x, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(x)
	if err != nil {
		return err
	}
	if !bytes.Contains(plain, []byte("Package: "+args[3]+"\n")) {
		return fmt.Errorf("%s has no package %s", args[2], args[3])
	}
	fmt.Println(strconv.FormatFloat(inMillis(ours), 'f', 3, 64), strconv.FormatFloat(inMillis(time.Since(began)), 'f', 3, 64))
	return nil
}
