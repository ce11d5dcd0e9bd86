package extract

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/testarchive"
)

// realDeb is one of Debian's, with its compression and its control members.
const realDeb = "../../testdata/real/pool/main/s/samba/libwbclient0_4.17.12+dfsg-0+deb12u2_amd64.deb"

// TestTruncatedDebs: a real .deb cut at each 1,000th byte, under a digest that
// the signed index gives, is no .deb: exit code 3, the package named, nothing left.
func TestTruncatedDebs(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(realDeb)
	if err != nil {
		t.Fatal(err)
	}
	const name, version, arch = "libwbclient0", "2:4.17.12+dfsg-0+deb12u2", "amd64"
	if _, err := fetching(t, memoryBlobs([]signedDeb{signedAs(name, version, arch, whole)}, nil), signedAs(name, version, arch, whole)).Fetch(t.Context(), testarchive.MemoryDir(t)); err != nil {
		t.Fatal(err)
	}
	dir := testarchive.MemoryDir(t)
	for n := 1000; n < len(whole); n += 1000 {
		d := signedAs(name, version, arch, whole[:n])
		out := filepath.Join(dir, fmt.Sprint(n))
		_, err := fetching(t, memoryBlobs([]signedDeb{d}, nil), d).Fetch(t.Context(), out)
		if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "package "+name+" "+version) {
			t.Errorf("cut at %d of %d: %v", n, len(whole), err)
		}
		if left := names(t, out); len(left) > 0 {
			t.Errorf("cut at %d: left behind: %q", n, left)
		}
	}
}

// TestPaxHeaders: dpkg refuses pax headers in control.tar (tar_extractor of
// libdpkg); read or refused here, they never make another package of it.
func TestPaxHeaders(t *testing.T) {
	t.Parallel()
	text := control("evil", "1.0-1", "amd64")
	for what, h := range map[string]tar.Header{
		"path":    {Name: "./other", Linkname: text, Format: tar.FormatPAX, PAXRecords: map[string]string{"path": "./control"}},
		"comment": {Name: "./control", Linkname: control("other", "6.6", "amd64"), Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": text}},
	} {
		d := signedAs("evil", "1.0-1", "amd64", withControl(t, ".gz", "gz", tarOf(t, h, tar.Header{Name: "control", Linkname: control("other", "6.6", "amd64")})))
		dir := filepath.Join(testarchive.MemoryDir(t), "out")
		_, err := fetching(t, memoryBlobs([]signedDeb{d}, nil), d).Fetch(t.Context(), dir)
		if !errors.Is(err, outcome.ErrIntegrity) || !strings.Contains(err.Error(), "package evil 1.0-1") {
			t.Errorf("%s: %v", what, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %q", what, left)
		}
	}
}
