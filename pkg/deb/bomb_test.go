package deb

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zerosXZ is 100 MiB of zeros, made with xz 5.4.1: xz -6 < zeros.
//
//go:embed testdata/zeros.xz
var zerosXZ []byte

// zeros compresses n zero bytes, behind begin.
func zeros(t *testing.T, ending string, begin []byte, n int64) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case ".gz":
		w, err = gzip.NewWriterLevel(&b, gzip.BestSpeed)
	case ".zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	check(t, err)
	_, err = w.Write(begin)
	check(t, err)
	_, err = io.CopyN(w, zeroReader{}, n)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// allocated is how many bytes f allocates over its run, an upper bound of what
// it held at any time.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Not parallel: it measures.
func TestBombs(t *testing.T) {
	control := controlTar(t)
	// As the tail of an entry that nobody asks for, as endless padding of the
	// tar, and as a control file.
	entry := tarOf(t, file("./big"), "")
	entry = withSize(entry[:512], 1<<32)
	big := withSize(tarOf(t, file("./control"), "")[:512], 1<<32)
	const n = MaxControlTar + 1<<20
	for _, c := range []struct {
		name, ending string
		content      []byte
		want         error
	}{
		{"gzip padding", ".gz", zeros(t, ".gz", control, n), errTarLong},
		{"gzip entry", ".gz", zeros(t, ".gz", entry, n), errTarLong},
		{"gzip control", ".gz", zeros(t, ".gz", big, n), errControlLong},
		{"zstd padding", ".zst", zeros(t, ".zst", control, n), errTarLong},
		{"zstd entry", ".zst", zeros(t, ".zst", entry, n), errTarLong},
		{"zstd control", ".zst", zeros(t, ".zst", big, n), errControlLong},
		{"xz", ".xz", zerosXZ, errNoControl},
	} {
		deb := ar(binary20, arMember{"control.tar" + c.ending, c.content}, arMember{"data.tar", []byte("x")})
		var err error
		used := allocated(func() { _, err = ReadDeb(bytes.NewReader(deb)) })
		if !errors.Is(err, c.want) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if used > maxWindow+4*MaxControl {
			t.Errorf("%s: %d bytes allocated", c.name, used)
		}
	}
}

// The xz bomb's output, whatever the tar reader would make of it.
func TestBombXZ(t *testing.T) {
	var n int64
	var err error
	used := allocated(func() {
		_, _ = readCompressed(bytes.NewReader(zerosXZ), ".xz", limit{MaxControlTar, errTarLong}, func(r io.Reader) (Stanza, error) {
			n, err = io.Copy(io.Discard, r)
			return nil, err
		})
	})
	if n != MaxControlTar || err != errTarLong {
		t.Errorf("%d bytes, %v", n, err)
	}
	if used > 16<<20 { // its dictionary has 8 MiB
		t.Errorf("%d bytes allocated", used)
	}
}

// withSize writes a size into the header of a tar entry.
func withSize(header []byte, size int64) []byte {
	h := slices.Clone(header)
	field := h[124:136]
	for i := 10; i >= 0; i-- {
		field[i] = '0' + byte(size&7)
		size >>= 3
	}
	copy(h[148:156], "        ")
	var sum int64
	for _, b := range h {
		sum += int64(b)
	}
	for i := 5; i >= 0; i-- {
		h[148+i] = '0' + byte(sum&7)
		sum >>= 3
	}
	h[154], h[155] = 0, ' '
	return h
}

// A declared window or dictionary is not an allocation.
func TestDeclaredWindow(t *testing.T) {
	content := pack(t, ".xz", controlTar(t))
	// Block header behind the 12 bytes of the stream header: size, flags,
	// filter, size of properties, dictionary, padding, CRC32.
	head := content[12 : 12+(int(content[12])+1)*4]
	i := bytes.Index(head, []byte{0x21, 1}) // LZMA2
	head[i+2] = 40                          // 4 GiB - 1
	binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
	var s Stanza
	var err error
	used := allocated(func() { s, err = readMember(bytes.NewReader(content), ".xz") })
	if err != nil || string(s) != testControl {
		t.Errorf("xz: %q, %v", s, err)
	}
	if used > maxWindow+1<<20 {
		t.Errorf("xz: %d bytes allocated", used)
	}

	// A zstd frame with a window of 2 GiB (RFC 8878 section 3.1.1.1.2), no content.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}
	used = allocated(func() { _, err = readMember(bytes.NewReader(frame), ".zst") })
	if !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("zstd: %v", err)
	}
	if used > 4<<20 {
		t.Errorf("zstd: %d bytes allocated", used)
	}
}
