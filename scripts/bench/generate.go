package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"

	"example.org/mmoci/internal/testarchive"
)

// generated is a synthetic signed archive, shaped like main/amd64 of a real
// release: the sizes of its packages, packages to a source, the length of its stanzas.
type generated struct {
	packages int
	bytes    int64   // of all .debs together, about
	changed  float64 // share of the sources that are new on each day
	suite    string
}

// archiveKey signs it.
func archiveKey() *testarchive.Key { return testarchive.NewKey("mmoci bench archive") }

// firstDay is the Date of day 0.
func firstDay() time.Time { return time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC) }

// Quantiles of package sizes in main/amd64 of bookworm, 63,440 packages.
var sizeQuantiles = []struct{ share, size float64 }{
	{0, 700}, {0.1, 7800}, {0.25, 15500}, {0.5, 59164}, {0.75, 310e3}, {0.9, 1.45e6}, {0.97, 8e6}, {0.995, 45e6}, {0.9999, 300e6}, {1, 500e6},
}

// perSource is the mean number of packages of a source: 63,440 of 34,169.
const perSource = 1.86

// member is one package of the archive on one day.
type member struct {
	name, source, version string
	size                  int
	depends               []string
	seed                  [32]byte
}

// members lists the packages of a day, in order of name.
func (g generated) members(day int) []member {
	out := make([]member, g.packages)
	var sum float64
	sizes := make([]float64, g.packages)
	for i := range out {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		sizes[i] = quantile(r.Float64())
		sum += sizes[i]
	}
	source := 0
	for i := range out {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		if i == 0 || r.Float64() < 1/perSource {
			source = i
		}
		m := &out[i]
		m.name = fmt.Sprintf("lib%c%05d-%s", 'a'+r.IntN(26), i, g.suite)
		m.source = fmt.Sprintf("source-%05d", source)
		m.version = fmt.Sprintf("2.%d-%d", source%40, 1+g.revision(source, day))
		m.size = max(300, int(sizes[i]*float64(g.bytes)/sum)-900) // what is around the data
		for range min(i, r.IntN(7)) {
			m.depends = append(m.depends, out[r.IntN(i)].name)
		}
		m.seed = sha256.Sum256([]byte(m.name + m.version))
	}
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return out
}

// revision counts on how many days up to day the source was changed.
func (g generated) revision(source, day int) int {
	n := 0
	for d := 1; d <= day; d++ {
		if rand.New(rand.NewPCG(uint64(source), uint64(1000+d))).Float64() < g.changed {
			n++
		}
	}
	return n
}

func quantile(share float64) float64 {
	for i := 1; i < len(sizeQuantiles); i++ {
		a, b := sizeQuantiles[i-1], sizeQuantiles[i]
		if share <= b.share {
			return a.size + (b.size-a.size)*(share-a.share)/(b.share-a.share)
		}
	}
	return sizeQuantiles[len(sizeQuantiles)-1].size
}

func (m member) file() string {
	return "pool/main/s/" + m.source + "/" + m.name + "_" + m.version + "_amd64.deb"
}

func (m member) control() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nSource: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: Synthetic Archive Maintainers <maintainers@example.org>\nInstalled-Size: %d\n",
		m.name, m.source, m.version, 1+m.size/1024)
	if len(m.depends) > 0 {
		fmt.Fprintf(&b, "Depends: %s\n", strings.Join(m.depends, " (>= 2.0), "))
	}
	fmt.Fprintf(&b, "Section: libs\nPriority: optional\nMulti-Arch: same\nHomepage: https://example.org/projects/%s\nDescription: synthetic package for measuring\n It has the size of a real one and holds nothing.\n", m.source)
	return b.String()
}

// deb is the package: control compressed, data as it is, of random bytes.
func (m member) deb() ([]byte, error) {
	var control bytes.Buffer
	z := gzip.NewWriter(&control)
	if err := tarTo(z, "./control", []byte(m.control())); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	content := make([]byte, m.size)
	_, _ = rand.NewChaCha8(m.seed).Read(content) // never fails
	var data bytes.Buffer
	if err := tarTo(&data, "./usr/share/"+m.name, content); err != nil {
		return nil, err
	}
	return testarchive.Ar(
		testarchive.ArMember{Name: "debian-binary", Data: []byte("2.0\n")},
		testarchive.ArMember{Name: "control.tar.gz", Data: control.Bytes()},
		testarchive.ArMember{Name: "data.tar", Data: data.Bytes()},
	), nil
}

func tarTo(w io.Writer, name string, data []byte) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: firstDay()}); err != nil {
		return err
	}
	if _, err := t.Write(data); err != nil {
		return err
	}
	return t.Flush() // no trailer of 1 KiB: the smallest packages would be mostly that
}

// write lays a day out under dir. Packages of an earlier day that are there and
// still right are left alone, so days can share a pool.
func (g generated) write(dir string, day int) error {
	ms := g.members(day)
	stanzas := make([]string, len(ms))
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, m := range ms {
		group.Go(func() error {
			data, err := m.deb()
			if err != nil {
				return err
			}
			name := filepath.Join(dir, m.file())
			if _, err := os.Lstat(name); err != nil {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(name, data, 0o644); err != nil {
					return err
				}
			}
			stanzas[i] = fmt.Sprintf("%sFilename: %s\nSize: %d\nMD5sum: %x\nSHA256: %x\n\n", m.control(), m.file(), len(data), md5.Sum(data), sha256.Sum256(data))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return g.writeSuite(filepath.Join(dir, "dists", g.suite), []byte(strings.Join(stanzas, "")), firstDay().AddDate(0, 0, day))
}

// writeSuite writes the index in two compressions, listed plain too, and the signed Release.
func (g generated) writeSuite(dir string, index []byte, date time.Time) error {
	const plain = "main/binary-amd64/Packages"
	var zipped, xzed bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(index)
	if err := z.Close(); err != nil {
		return err
	}
	x, err := xz.NewWriter(&xzed)
	if err != nil {
		return err
	}
	if _, err := x.Write(index); err != nil {
		return err
	}
	if err := x.Close(); err != nil {
		return err
	}
	files := []struct {
		name string
		data []byte
	}{{plain, index}, {plain + ".gz", zipped.Bytes()}, {plain + ".xz", xzed.Bytes()}}
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: Bench\nLabel: Bench\nSuite: %s\nCodename: %s\nDate: %s\nAcquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\nDescription: synthetic\n",
		g.suite, g.suite, date.Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	for _, algorithm := range []string{"MD5Sum", "SHA256"} {
		fmt.Fprintf(&release, "%s:\n", algorithm)
		for _, f := range files {
			sum := md5.Sum(f.data)
			digest := hex.EncodeToString(sum[:])
			if algorithm == "SHA256" {
				digest = sha256Hex(f.data)
			}
			fmt.Fprintf(&release, " %s %d %s\n", digest, len(f.data), f.name)
		}
	}
	byHash := filepath.Join(dir, "main/binary-amd64/by-hash/SHA256")
	if err := os.MkdirAll(byHash, 0o755); err != nil {
		return err
	}
	for _, f := range files[1:] {
		for _, name := range []string{filepath.Join(dir, f.name), filepath.Join(byHash, sha256Hex(f.data))} {
			if err := replace(name, f.data); err != nil {
				return err
			}
		}
	}
	signed := archiveKey().Clearsign(noTest{}, release.Bytes(), date)
	return replace(filepath.Join(dir, "InRelease"), signed)
}

// replace writes a new file: the old one may be another day's, too, by a hard link.
func replace(name string, data []byte) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// noTest is as much of testing.TB as signing uses.
type noTest struct{ testing.TB }

func (noTest) Helper()           {}
func (noTest) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
