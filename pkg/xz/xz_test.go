package xz

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	encoder "github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// blocksXZ is "line N of a small file\n" for N from 1 to 300, in blocks whose
// headers give their sizes, which the library's writer leaves out: xz -T2
// --block-size=2000 --check=crc32.
//
//go:embed testdata/blocks.xz
var blocksXZ []byte

// maxWindow is the largest dictionary in most of these tests.
const maxWindow = 32 << 20

// newReader reads as dpkg does.
func newReader(r io.Reader, most int64) *Reader {
	return NewReader(r, Options{MaxDictionary: most, Shrink: true, Single: true})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack compresses with another library.
func pack(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := encoder.NewWriter(&b)
	check(t, err)
	_, err = io.WriteString(w, s)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

func TestReader(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("The .xz file format. ", 20_000)
	for _, check := range []byte{encoder.CRC32, encoder.CRC64, encoder.SHA256} {
		for _, block := range []int64{0, 1000, 100_000} { // several blocks
			var b bytes.Buffer
			w, err := encoder.WriterConfig{DictCap: 1 << 20, BlockSize: block, CheckSum: check}.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(w, text)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(newReader(&b, 1<<20))
			if err != nil || string(got) != text {
				t.Errorf("check %d, blocks of %d: %d bytes, %v", check, block, len(got), err)
			}
		}
	}
}

// A control.tar of a few KiB declares 8 MiB of dictionary, as every dpkg-deb writes
// it; no more is taken than the data can refer back.
func TestSmallDictionary(t *testing.T) {
	random := make([]byte, 40_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	text := slices.Concat(random, make([]byte, 100_000), random) // a reference nearly as far as it is long
	var b bytes.Buffer
	w, err := encoder.WriterConfig{DictCap: 8 << 20}.NewWriter(&b)
	check(t, err)
	_, err = w.Write(text)
	check(t, err)
	check(t, w.Close())
	if b.Len() > 60_000 {
		t.Fatalf("%d bytes: the second half was not taken for the first", b.Len())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := io.ReadAll(newReader(bytes.NewReader(b.Bytes()), maxWindow))
	runtime.ReadMemStats(&after)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("%d bytes allocated", took)
	}
}

func TestBlockSizes(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for i := range 300 {
		fmt.Fprintf(&want, "line %d of a small file\n", i+1)
	}
	got, err := io.ReadAll(newReader(bytes.NewReader(blocksXZ), maxWindow))
	if err != nil || string(got) != want.String() {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// A size in the header of the first block that is not the block's.
	bad := bytes.Clone(blocksXZ)
	head := bad[12 : 12+(int(bad[12])+1)*4]
	if head[1] != 0xc0 {
		t.Fatalf("block flags %#x: no sizes", head[1])
	}
	head[2] ^= 1
	binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
	if _, err := io.ReadAll(newReader(bytes.NewReader(bad), maxWindow)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong packed size: %v", err)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := encoder.WriterConfig{DictCap: 1 << 12, BlockSize: 100}.NewWriter(&b)
	check(t, err)
	text := strings.Repeat("0123456789abcdef", 20)
	_, err = io.WriteString(w, text)
	check(t, err)
	check(t, w.Close())
	whole := b.Bytes()
	for i := range whole {
		if _, err := io.ReadAll(newReader(bytes.NewReader(whole[:i]), maxWindow)); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			if got, err := io.ReadAll(newReader(bytes.NewReader(bad), maxWindow)); err == nil && string(got) != text {
				// A chunk's packed size may lie upwards: the library stops where its output is whole.
				t.Errorf("bit %d of byte %d flipped: %d bytes, no error", bit, i, len(got))
			}
		}
	}
	for _, behind := range []string{"\x00", "\x00\x00\x00\x00", string(whole)} {
		if _, err := io.ReadAll(newReader(strings.NewReader(string(whole)+behind), maxWindow)); err == nil || len(behind) > 1 && err != errBehind {
			t.Errorf("%d bytes behind: %v", len(behind), err)
		}
	}
}

// writing is a text as LZMA likes it: words that come again, near and far, runs, and bytes that nobody can guess.
func writing(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var out []byte
	for len(out) < n {
		switch k := r.IntN(10); {
		case k < 2:
			for range 1 + r.IntN(40) {
				out = append(out, byte(r.Uint32()))
			}
		case k < 3:
			out = append(out, bytes.Repeat([]byte{byte(k)}, 1+r.IntN(600))...)
		case k < 4 && len(out) > 0:
			out = append(out, out[len(out)-1-r.IntN(min(len(out), 9)):]...) // overlaps itself when it is repeated
		case len(out) > 0:
			far := r.IntN(len(out))
			out = append(out, out[far:far+min(len(out)-far, 1+r.IntN(1<<r.IntN(9)))]...)
		default:
			out = append(out, "The .xz file format"...)
		}
	}
	return out[:n]
}

// The ring turns many times with a dictionary of 4 KiB, references go as far back as it has bytes, and each
// combination of properties moves the contexts.
func TestRing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		lc := r.IntN(5)
		p := lzma.Properties{LC: lc, LP: r.IntN(5 - lc), PB: r.IntN(5)}
		dict := []int{4 << 10, 4 << 10, 6 << 10, 64 << 10, 1 << 20}[r.IntN(5)]
		want := writing(seed, 1+r.IntN(400_000))
		if seed%4 == 0 { // as far as the dictionary goes
			for i := dict; i < len(want); i++ {
				if i%97 < 90 {
					want[i] = want[i-dict]
				}
			}
		}
		var b bytes.Buffer
		w, err := encoder.WriterConfig{Properties: &p, DictCap: dict, BlockSize: []int64{0, 0, 30_000}[r.IntN(3)]}.NewWriter(&b)
		check(t, err)
		_, err = w.Write(want)
		check(t, err)
		check(t, w.Close())
		got, err := io.ReadAll(iotest.OneByteReader(newReader(iotest.HalfReader(&b), maxWindow)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("seed %d, %+v, dictionary of %d: %d bytes of %d, %v", seed, p, dict, len(got), len(want), err)
		}
	}
}

// What xz itself wrote of 30,000 bytes of writing(7), with properties at their ends:
//
//	xz --check=none --lzma2=dict=4KiB,lc=0,lp=4,pb=0
//	xz --check=sha256 --lzma2=dict=8KiB,lc=4,lp=0,pb=4,nice=273
//	xz --check=crc64 -T2 --block-size=8000 -9
//
//go:embed testdata/lp4.xz
var lp4XZ []byte

//go:embed testdata/lc4.xz
var lc4XZ []byte

//go:embed testdata/threads.xz
var threadsXZ []byte

func TestOfXZ(t *testing.T) {
	t.Parallel()
	want := writing(7, 30_000)
	for i, data := range [][]byte{lp4XZ, lc4XZ, threadsXZ} {
		got, err := io.ReadAll(newReader(bytes.NewReader(data), maxWindow))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("file %d: %d bytes, %v", i, len(got), err)
		}
	}
	two := slices.Concat(lp4XZ, make([]byte, 8), threadsXZ)
	got, err := io.ReadAll(NewReader(bytes.NewReader(two), Options{MaxDictionary: maxWindow, Shrink: true}))
	if err != nil || !bytes.Equal(got, slices.Concat(want, want)) {
		t.Errorf("two streams: %d bytes, %v", len(got), err)
	}
	for _, zeros := range []int{1, 2, 3, 5} {
		bad := slices.Concat(lp4XZ, make([]byte, zeros), threadsXZ)
		if _, err := io.ReadAll(NewReader(bytes.NewReader(bad), Options{MaxDictionary: maxWindow, Shrink: true})); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d zeros between two streams: %v", zeros, err)
		}
	}
	less := Options{MaxDictionary: 4 << 10}
	if _, err := io.ReadAll(NewReader(bytes.NewReader(lc4XZ), less)); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a dictionary over the limit: %v", err)
	}
	less.Shrink = true
	if _, err := io.ReadAll(NewReader(bytes.NewReader(lc4XZ), less)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("references behind a dictionary that was shrunk: %v", err)
	}
	if got, err := io.ReadAll(NewReader(bytes.NewReader(lp4XZ), less)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a dictionary of the limit: %d bytes, %v", len(got), err)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"", "hello\n", strings.Repeat("abc", 5000)} {
		f.Add(pack(f, s))
	}
	for _, data := range [][]byte{blocksXZ, lp4XZ, lc4XZ, threadsXZ} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 20
		got, err := io.ReadAll(io.LimitReader(newReader(bytes.NewReader(data), most), most))
		if err != nil || len(got) == most || declaresMuch(data) {
			return
		}
		// Another reader, which is stricter about bytes that tell nothing, never reads other bytes.
		r, err := encoder.ReaderConfig{SingleStream: true}.NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		want, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%.100q, another reader reads %.100q", got, want)
		}
	})
}

// declaresMuch spares the comparison when the library would allocate a large
// dictionary for some byte that may be a block's.
func declaresMuch(data []byte) bool {
	for i := 0; i+2 < len(data); i++ {
		if data[i] == filterLZMA2 && data[i+1] == 1 && data[i+2] > 24 {
			return true
		}
	}
	return false
}
