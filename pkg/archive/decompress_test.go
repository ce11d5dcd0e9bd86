package archive

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// pack compresses with the library of each ending.
func pack(t testing.TB, ending string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".lzma":
		w, err = lzma.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return data
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Made with the programs of the same name: no Go library writes them.
const (
	bzip2Hello   = "QlpoOTFBWSZTWXZp4NQAAAERAEAAAkSgADDNAMNGKZcXckU4UJB2aeDUQlpoOTFBWSZTWQpYBpUAAALBgAAQBASQgCAAIhhoMAToGF3JFOFCQClgGlQ=" // "hello " and "world\n", each by itself
	bzip2Bomb    = "QlpoOTFBWSZTWaZFgLIAFvpACMAAQAAACCAAMMwJqmmpAi2pIEXi7kinChIUyLAWQA=="                                                 // 3,000,000 NUL bytes
	xzDict256MiB = "/Td6WFoAAATm1rRGAgAhASAAAAAJiKV24YafAFNdAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFLsX7JiopNL6MN2X+m44wjEVPgWRjFdYrid/i2lH8MasDedElk4ulcU7IE1rH1lwAAAACPxpSiGONw8QABb6CNBgAAkORuUbHEZ/sCAAAAAARZWg=="
	xzX86Filter  = "/Td6WFoAAATm1rRGAgEEACEBFgANhjUf4AAXABNdADQZSe6N6ReJOjNf/YFECO3UgAAAAMz44r1xiWpoAAEvGBAV9iEftvN9AQAAAAAEWVo="
)

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestDecompress(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("Package: x\nVersion: 1\n\n", 1000))
	for _, ending := range []string{"", ".gz", ".xz", ".lzma", ".zst"} {
		packed := pack(t, ending, text)
		for _, limit := range []int64{int64(len(text)), int64(len(text)) + 1, 1 << 62} {
			got, err := Decompress("main/binary-amd64/Packages"+ending, packed, limit)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%q, limit %d: %d bytes, %v", ending, limit, len(got), err)
			}
			var to bytes.Buffer
			if err := DecompressTo(&to, "Packages"+ending, packed, limit); err != nil || !bytes.Equal(to.Bytes(), text) {
				t.Errorf("%q, limit %d: written %d bytes, %v", ending, limit, to.Len(), err)
			}
		}
		for _, limit := range []int64{int64(len(text)) - 1, 1, 0, -1} {
			if got, err := Decompress("Packages"+ending, packed, limit); !errors.Is(err, errTooLong) || got != nil {
				t.Errorf("%q, limit %d: %d bytes, %v", ending, limit, len(got), err)
			}
			var to bytes.Buffer
			if err := DecompressTo(&to, "Packages"+ending, packed, limit); !errors.Is(err, errTooLong) || to.Len() > max(0, int(limit))+1 {
				t.Errorf("%q, limit %d: written %d bytes, %v", ending, limit, to.Len(), err)
			}
		}
		full := errors.New("full")
		if err := DecompressTo(failing{full}, "Packages"+ending, packed, 1<<20); err != full {
			t.Errorf("%q to a full disk: %v", ending, err)
		}
		if got, err := Decompress("Packages"+ending, pack(t, ending, nil), 0); err != nil || len(got) > 0 {
			t.Errorf("%q of nothing: %q, %v", ending, got, err)
		}
		if ending == "" {
			continue
		}
		for _, n := range []int{0, 1, 5, len(packed) / 2, len(packed) - 1} {
			if got, err := Decompress("Packages"+ending, packed[:n], 1<<20); err == nil || errors.Is(err, io.EOF) || got != nil {
				t.Errorf("%q cut after %d bytes: %d bytes, %v", ending, n, len(got), err)
			}
			if err := DecompressTo(io.Discard, "Packages"+ending, packed[:n], 1<<20); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%q cut after %d bytes, written: %v", ending, n, err)
			}
		}
		if ending == ".lzma" { // holds one stream only
			continue
		}
		two := append(bytes.Clone(packed), packed...)
		if got, err := Decompress("Packages"+ending, two, 1<<20); err != nil || !bytes.Equal(got, append(bytes.Clone(text), text...)) {
			t.Errorf("%q twice: %d bytes, %v", ending, len(got), err)
		}
		if _, err := Decompress("Packages"+ending, two, int64(len(text))); !errors.Is(err, errTooLong) {
			t.Errorf("%q twice over the limit: %v", ending, err)
		}
		if _, err := Decompress("Packages"+ending, append(bytes.Clone(packed), "trailing garbage"...), 1<<20); err == nil {
			t.Errorf("%q with garbage behind it", ending)
		}
	}
	got, err := Decompress("Packages.bz2", unbase64(bzip2Hello), 12)
	if err != nil || string(got) != "hello world\n" {
		t.Errorf("bzip2: %q, %v", got, err)
	}
	if _, err := Decompress("Packages.lz4", nil, 12); err == nil {
		t.Error("lz4 is decompressed")
	}
	for _, ending := range []string{".gz", ".bz2", ".xz", ".lzma", ".zst"} {
		if _, err := Decompress("Packages"+ending, []byte("<html>404 not found</html>"), 100); err == nil {
			t.Errorf("%s of a web page", ending)
		}
	}
}

// failing is a writer that cannot write.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What a Release says of the plain bytes holds for what is written, too.
func TestUnpackTo(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("Package: x\nVersion: 1\n\n", 1000))
	listed := func(path string, data []byte) ReleaseFile {
		s256, s512 := sha256.Sum256(data), sha512.Sum512(data)
		return ReleaseFile{Path: path, Size: int64(len(data)), SHA256: hex.EncodeToString(s256[:]), SHA512: hex.EncodeToString(s512[:])}
	}
	right := listed("main/Packages", text)
	other := append(bytes.Clone(text[1:]), 'X')
	wrong256, wrong512 := right, right
	wrong256.SHA256, wrong512.SHA512 = listed("", other).SHA256, listed("", other).SHA512
	for about, tt := range map[string]struct {
		plain []ReleaseFile
		limit int64
		ok    bool
	}{
		"right":             {[]ReleaseFile{right}, 1 << 20, true},
		"not listed":        {nil, 1 << 20, true},
		"not listed, limit": {nil, 100, false},
		"another SHA256":    {[]ReleaseFile{wrong256}, 1 << 20, false},
		"another SHA512":    {[]ReleaseFile{wrong512}, 1 << 20, false},
		"longer":            {[]ReleaseFile{listed("main/Packages", text[:100])}, 1 << 20, false},
		"shorter":           {[]ReleaseFile{listed("main/Packages", append(text[:len(text):len(text)], 'X'))}, 1 << 20, false},
		"over the limit":    {[]ReleaseFile{right}, 100, false},
	} {
		for _, ending := range []string{".xz", ".gz"} {
			stored := pack(t, ending, text)
			f := listed("main/Packages"+ending, stored)
			r := &Release{Files: append(slices.Clone(tt.plain), f)} // in order
			_, err := r.Unpack(f, stored, tt.limit)
			var to bytes.Buffer
			errTo := r.UnpackTo(&to, f, stored, tt.limit)
			if (err == nil) != tt.ok || (errTo == nil) != tt.ok || tt.ok && !bytes.Equal(to.Bytes(), text) {
				t.Errorf("%s%s: %v; written %d bytes, %v", about, ending, err, to.Len(), errTo)
			}
			if err != nil && errTo != nil && err.Error() != errTo.Error() {
				t.Errorf("%s%s: %q, written %q", about, ending, err, errTo)
			}
		}
	}
}

// TestXZPadding: streams may have zero bytes between and behind them.
func TestXZPadding(t *testing.T) {
	t.Parallel()
	a := pack(t, ".xz", []byte("a"))
	padded := bytes.Join([][]byte{a, a, nil}, make([]byte, 8))
	got, err := Decompress("x.xz", padded, 2)
	if err != nil || string(got) != "aa" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Decompress("x.xz", append(a, 0, 0), 2); err == nil {
		t.Error("odd padding")
	}
}

// TestBombs measures what decompressing takes when much comes of little, or
// much is asked for: never more than a few times the limit and one dictionary.
func TestBombs(t *testing.T) { // not parallel: it measures the heap
	zeros := make([]byte, 64<<20)
	const limit = 1 << 20
	for _, tc := range []struct {
		name string
		data []byte
		most uint64 // bytes allocated
		want string
	}{
		{"x.gz", pack(t, ".gz", zeros), 8 << 20, "over 1048576 bytes"},
		{"x.bz2", unbase64(bzip2Bomb), 16 << 20, "over 1048576 bytes"},
		{"x.xz", pack(t, ".xz", zeros), 8 << 20, "over 1048576 bytes"}, // found before decoding
		{"x.lzma", pack(t, ".lzma", zeros), 48 << 20, "over 1048576 bytes"},
		{"x.zst", pack(t, ".zst", zeros), 48 << 20, "over 1048576 bytes"},
		{"dict.xz", unbase64(xzDict256MiB), 1 << 20, "dictionary of 268435456 bytes"},
		{"filter.xz", unbase64(xzX86Filter), 1 << 20, "other than LZMA2"},
		{"dict.lzma", append([]byte{0x5d, 0, 0, 0, 0x40}, bytes.Repeat([]byte{0xff}, 40)...), 1 << 20, "lzma"},
		{"window.zst", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x01, 0x00, 0x00}, 8 << 20, "window"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := Decompress(tc.name, tc.data, limit)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), tc.want) || got != nil {
			t.Errorf("%s: %d bytes, %v", tc.name, len(got), err)
		}
		used := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d bytes of data, %d kB allocated", tc.name, len(tc.data), used>>10)
		if used > tc.most {
			t.Errorf("%s: %d kB allocated, expected at most %d", tc.name, used>>10, tc.most>>10)
		}
	}
}

// TestXZLies: block headers that contradict what follows are found by the
// walk or by the decoder, never decoded to something.
func TestXZLies(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("hello world\n", 100))
	good := pack(t, ".xz", text)
	for i := range good {
		for _, bit := range []byte{1, 0x10, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			if got, err := Decompress("x.xz", bad, 1<<20); err == nil && !bytes.Equal(got, text) {
				t.Errorf("byte %d: %d bytes and no error", i, len(got))
			}
		}
	}
	// A header whose own checksum is right, but whose dictionary is 4 GiB.
	bad := bytes.Clone(good)
	size := (int(bad[12]) + 1) * 4
	at := bytes.IndexByte(bad[12:12+size], 0x21) + 12 + 2
	bad[at] = 40
	binary.LittleEndian.PutUint32(bad[12+size-4:], crc32.ChecksumIEEE(bad[12:12+size-4]))
	_, err := Decompress("x.xz", bad, 1<<20)
	wantErr(t, err, "xz dictionary of 4294967296 bytes")
}

func FuzzDecompress(f *testing.F) {
	text := []byte(strings.Repeat("Package: x\nVersion: 1\n\n", 20))
	endings := []string{"", ".gz", ".xz", ".lzma", ".zst", ".bz2"}
	for i, e := range endings {
		f.Add(uint8(i), pack(f, e, text))
	}
	f.Add(uint8(5), unbase64(bzip2Hello))
	f.Add(uint8(2), unbase64(xzX86Filter))
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, i uint8, data []byte) {
		got, err := Decompress("x"+endings[int(i)%len(endings)], data, limit)
		if err == nil && len(got) > limit || err != nil && got != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}
