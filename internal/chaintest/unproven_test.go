package chaintest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// TestUnprovenIndices: an index of an archive that nothing given can prove is
// read only if a dependency asks for it, and within a bound, whatever size it is said to have.
func TestUnprovenIndices(t *testing.T) {
	const bound = 64 << 20 // of all that is allocated
	for _, tc := range []struct {
		name   string
		size   int64
		plain  string // the Release says of the unpacked index
		needed bool   // something that is asked for is in no proven archive
		exit   int
		want   string
		reads  bool
	}{
		{"not asked for", 4 << 30, "", false, 0, "", false},
		{"asked for, of 4 GiB", 4 << 30, "", true, 4, "no key is given for prefix zz-huge", false},
		{"asked for, under the bound when packed", 1 << 10, fmt.Sprintf(" %s %d main/binary-amd64/Packages\n", strings.Repeat("1", 64), int64(4)<<30), true, 4, "no key is given for prefix zz-huge", false},
		{"asked for, unpacked size not said", 1 << 10, "-", true, 4, "no key is given for prefix zz-huge", false},
		{"asked for", 1 << 10, "", true, 3, "comes from prefix zz-huge, for which no key is given; give upstream's key [zz-huge]", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := world.Draft(t, world.Good())
			index := []byte(fmt.Sprintf("Package: only-here\nVersion: 1\nArchitecture: amd64\nFilename: pool/x.deb\nSize: 1\nSHA256: %s\nDescription: %s\n",
				snapshot.Sum([]byte("x")).Hex(), strings.Repeat("x", 790)))
			row := snapshot.Row{Path: "zz-huge/dists/toy/main/binary-amd64/Packages", Size: tc.size, Digest: snapshot.Sum(index)}
			if tc.size == 1<<10 {
				row.Size = int64(len(index))
			}
			list := fmt.Sprintf(" %s %d main/binary-amd64/Packages\n", row.Digest.Hex(), row.Size)
			if tc.plain != "" {
				row.Path += ".xz"
				list = strings.Replace(list, "Packages", "Packages.xz", 1) + strings.TrimPrefix(tc.plain, "-")
			}
			date := testarchive.DefaultDate()
			release := fmt.Appendf(nil, "Suite: toy\nCodename: toy\nDate: %s\nComponents: main\nArchitectures: amd64\nSHA256:\n%s",
				strings.Replace(date.Format(http.TimeFormat), "GMT", "UTC", 1), list)
			addVerbatim(d, "zz-huge", "toy", testarchive.Files{
				"dists/toy/InRelease": forge.Mallory().Clearsign(t, release, date), "dists/toy/Release": release,
			})
			delete(d.Rows, "zz-huge/dists/toy/Release")
			d.Rows[row.Path] = row
			d.Lock = append(d.Lock, "archive zz-huge verbatim upstream\n"...)
			read := false
			s := d.Seal(forge.Unsigned).WithBlobs(func(b snapshot.Blobs) snapshot.Blobs {
				return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
					if blob.Digest != row.Digest {
						return b.Open(ctx, blob, 0)
					}
					read = true
					if tc.size == 1<<10 {
						return &snapshot.Content{R: io.NopCloser(strings.NewReader(string(index)))}, nil
					}
					return &snapshot.Content{R: io.NopCloser(io.LimitReader(same('x'), tc.size))}, nil
				})
			})
			query := "docker-ce"
			if tc.needed {
				query = "only-here"
			}
			var err error
			took := allocated(func() {
				_, err = extract.Run(t.Context(), extract.Options{
					Snapshot: s, Trust: world.UpstreamTrust(t), Queries: []string{query}, Dir: filepath.Join(testarchive.MemoryDir(t), "out"), Architecture: "amd64",
				})
			})
			refused(t, err, tc.exit, tc.want)
			if read != tc.reads {
				t.Errorf("its index was read: %t", read)
			}
			if took > bound {
				t.Errorf("%d MiB allocated, want at most %d", took>>20, bound>>20)
			}
		})
	}
}

// TestUnprovenIndexVerified: verify, too, has a bound for what nobody's key vouches for.
func TestUnprovenIndexVerified(t *testing.T) {
	d := world.Draft(t, world.Good())
	a := d.Archive("security")
	base := "security/dists/" + a.Suites[0].Name + "/"
	var path string
	for p := range d.Rows {
		if strings.HasPrefix(p, base) && strings.Contains(p, "binary-amd64/Packages") {
			path = p
		}
	}
	row := d.Rows[path]
	size := row.Size
	row.Size = 256<<20 + 1
	d.Rows[path] = row
	d.EditRelease(base, func(text string) string {
		return regexp.MustCompile(fmt.Sprintf(` %s +%d `, row.Digest.Hex(), size)).ReplaceAllString(text, fmt.Sprintf(" %s %d ", row.Digest.Hex(), row.Size))
	})
	s := d.Seal(forge.Unsigned).WithBlobs(func(b snapshot.Blobs) snapshot.Blobs {
		return snapshot.BlobsFunc(func(ctx context.Context, blob snapshot.Blob) (*snapshot.Content, error) {
			if blob.Digest == row.Digest {
				return &snapshot.Content{R: io.NopCloser(io.LimitReader(same('x'), row.Size))}, nil
			}
			return b.Open(ctx, blob, 0)
		})
	})
	trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"docker": world.Ring(t, testarchive.DockerKey())}, Now: world.Now}
	var err error
	took := allocated(func() { _, err = prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust}) })
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("verified: %v", err)
	}
	if bound := uint64(64 << 20); took > bound {
		t.Errorf("%d MiB allocated, want at most %d", took>>20, bound>>20)
	}
}
