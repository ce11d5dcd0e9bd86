package verified

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// of are the options of a reader of data.
func of(data []byte) Options { return Options{Digest: sha256.Sum256(data), Size: int64(len(data))} }

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

var readerSizes = []int{0, 1, 100, HoldBack - 1, HoldBack, HoldBack + 1, 2*HoldBack + 7, 500_000}

// sources are ways in which a reader may hand out the same bytes.
func sources(data []byte) map[string]io.Reader {
	return map[string]io.Reader{
		"whole":        bytes.NewReader(data),
		"EOF at once":  iotest.DataErrReader(bytes.NewReader(data)),
		"half":         iotest.HalfReader(bytes.NewReader(data)),
		"idle between": &idleReader{r: bytes.NewReader(data)},
	}
}

// idleReader returns nothing every other time.
type idleReader struct {
	r    io.Reader
	idle bool
}

func (r *idleReader) Read(p []byte) (int, error) {
	if r.idle = !r.idle; r.idle {
		return 0, nil
	}
	return r.r.Read(p)
}

// readers are ways of reading everything.
var readers = map[string]func(io.Reader) ([]byte, error){
	"ReadAll": io.ReadAll,
	"WriteTo": func(r io.Reader) ([]byte, error) {
		var b bytes.Buffer
		_, err := io.Copy(&b, r)
		return b.Bytes(), err
	},
	"large": func(r io.Reader) ([]byte, error) {
		var out []byte
		p := make([]byte, 1<<20)
		for {
			n, err := r.Read(p)
			out = append(out, p[:n]...)
			if err == io.EOF {
				return out, nil
			}
			if err != nil {
				return out, err
			}
		}
	},
	"some, then WriteTo": func(r io.Reader) ([]byte, error) {
		p := make([]byte, HoldBack+3)
		n, err := r.Read(p)
		if err != nil && err != io.EOF {
			return p[:n], err
		}
		b := bytes.NewBuffer(p[:n:n])
		_, err = io.Copy(b, r)
		return b.Bytes(), err
	},
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, size := range readerSizes {
		data := noise(size)
		for how, read := range readers {
			for name, src := range sources(data) {
				verified := 0
				o := of(data)
				o.Right = func() { verified++ }
				r := NewReader(io.NopCloser(src), o)
				got, err := read(r)
				if err != nil || !bytes.Equal(got, data) || verified != 1 {
					t.Errorf("%d bytes, %s by %s: %d bytes, %v, verified %d times", size, name, how, len(got), err, verified)
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%d bytes, %s by %s: after the end %d, %v", size, name, how, n, err)
				}
			}
		}
	}
}

// TestReaderRefuses changes the content in every way, and looks at what was
// given out: right bytes only, and none of those held back.
func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	for _, size := range readerSizes {
		data := noise(size)
		wrong := map[string][]byte{"longer": append(bytes.Clone(data), 'x'), "much longer": append(bytes.Clone(data), noise(100_000)...)}
		if size > 0 {
			wrong["shorter"], wrong["nothing"] = data[:size-1], nil
			for _, at := range []int{0, size / 2, size - 1} {
				flipped := bytes.Clone(data)
				flipped[at] ^= 1
				wrong[fmt.Sprintf("flipped at %d", at)] = flipped
			}
		}
		for change, content := range wrong {
			for how, read := range readers {
				for name, src := range sources(content) {
					o := of(data)
					o.Right = func() { t.Errorf("%d bytes %s: verified", size, change) }
					r := NewReader(io.NopCloser(src), o)
					got, err := read(r)
					if !errors.Is(err, ErrIntegrity) || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), fmt.Sprintf("sha256:%x", o.Digest)) {
						t.Errorf("%d bytes %s, %s by %s: %v", size, change, name, how, err)
					}
					if !strings.HasPrefix(change, "flipped") && !strings.Contains(err.Error(), fmt.Sprintf("bytes instead of %d", size)) {
						t.Errorf("%d bytes %s: %v names no sizes", size, change, err)
					}
					if len(got) > max(0, size-HoldBack) || !bytes.HasPrefix(content, got) {
						t.Errorf("%d bytes %s, %s by %s: %d bytes given out", size, change, name, how, len(got))
					}
					if n, again := r.Read(make([]byte, 10)); n != 0 || again != err {
						t.Errorf("%d bytes %s: after the error %d, %v", size, change, n, again)
					}
				}
			}
		}
	}
}

func TestReaderSourceFails(t *testing.T) {
	t.Parallel()
	data := noise(HoldBack + 1000)
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"in front":    {iotest.ErrReader(broken), broken},
		"in the bulk": {io.MultiReader(bytes.NewReader(data[:500]), iotest.ErrReader(broken)), broken},
		"in the tail": {io.MultiReader(bytes.NewReader(data[:2000]), iotest.ErrReader(broken)), broken},
		"at the end":  {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), broken},
		"wrapped EOF": {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(fmt.Errorf("body: %w", io.EOF))), io.ErrUnexpectedEOF},
		"cut body":    {io.MultiReader(bytes.NewReader(data[:66_000]), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
		"asleep":      {iotest.ErrReader(nil), io.ErrNoProgress},
		"asleep late": {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(nil)), io.ErrNoProgress},
	} {
		for how, read := range readers {
			if how != "ReadAll" && c.want != io.ErrNoProgress {
				continue // a MultiReader can be read once
			}
			r := NewReader(io.NopCloser(c.src), of(data))
			got, err := read(r)
			if !errors.Is(err, c.want) || errors.Is(err, io.EOF) || errors.Is(err, ErrIntegrity) || len(got) > 1000 {
				t.Errorf("%s by %s: %d bytes, %v", name, how, len(got), err)
			}
			if n, again := r.Read(make([]byte, 10)); n != 0 || again != err {
				t.Errorf("%s by %s: after the error %d, %v", name, how, n, again)
			}
		}
	}
}

// failWriter takes limit bytes, then fails with err, or silently.
type failWriter struct {
	limit int
	err   error
}

func (w *failWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.limit)
	w.limit -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestWriteToFails(t *testing.T) {
	t.Parallel()
	data := noise(3 * HoldBack)
	full := errors.New("disk full")
	for _, limit := range []int{0, 10, HoldBack, 2*HoldBack + 5} {
		for _, failure := range []error{full, io.EOF, nil} {
			r := NewReader(io.NopCloser(bytes.NewReader(data)), of(data))
			n, err := r.WriteTo(&failWriter{limit, failure})
			want := failure
			if want == nil {
				want = io.ErrShortWrite
			}
			if n != int64(limit) || err != want {
				t.Errorf("limit %d, %v: %d, %v", limit, failure, n, err)
			}
			if n, err := r.Read(make([]byte, 5)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("limit %d, %v: afterwards %d, %v", limit, failure, n, err)
			}
		}
	}
}

func TestReaderBlob(t *testing.T) {
	t.Parallel()
	for _, b := range []Options{{Digest: emptyDigest, Size: 5}, {Digest: of([]byte("x")).Digest}, {Digest: of([]byte("x")).Digest, Size: -1}, {}} {
		got, err := io.ReadAll(NewReader(io.NopCloser(strings.NewReader("x")), b))
		if !errors.Is(err, ErrIntegrity) || len(got) > 0 {
			t.Errorf("%x %d: %q, %v", b.Digest, b.Size, got, err)
		}
	}
	if got, err := io.ReadAll(NewReader(io.NopCloser(strings.NewReader("")), Options{Digest: emptyDigest, Size: -1})); !errors.Is(err, ErrIntegrity) || len(got) > 0 {
		t.Errorf("negative size of nothing: %q, %v", got, err)
	}
	// The size that a stranger declares is no allocation.
	r := NewReader(io.NopCloser(strings.NewReader("x")), Options{Digest: of([]byte("x")).Digest, Size: 1 << 60})
	if _, err := r.WriteTo(io.Discard); !errors.Is(err, ErrIntegrity) || len(r.buf) != HoldBack {
		t.Errorf("%v, buffer of %d bytes", err, len(r.buf))
	}
}

// closeCounter counts.
type closeCounter struct {
	io.Reader
	closed int
	err    error
}

func (c *closeCounter) Close() error { c.closed++; return c.err }

func TestReaderClose(t *testing.T) {
	t.Parallel()
	data := noise(3 * HoldBack)
	for _, before := range []int{0, 10, 2*HoldBack + 10, 3 * HoldBack} {
		src := &closeCounter{Reader: bytes.NewReader(data), err: fs.ErrPermission}
		r := NewReader(src, of(data))
		if _, err := io.ReadFull(r, make([]byte, before)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != fs.ErrPermission {
			t.Errorf("Close: %v", err)
		}
		if err := r.Close(); err != nil || src.closed != 1 {
			t.Errorf("second Close: %v, closed %d times", err, src.closed)
		}
		if n, err := r.Read(make([]byte, 5)); n != 0 || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Read after Close: %d, %v", n, err)
		}
		if n, err := r.WriteTo(io.Discard); n != 0 || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("WriteTo after Close: %d, %v", n, err)
		}
	}
}

// FuzzReader lets the source and the reader take any steps, over content that may be changed anywhere.
func FuzzReader(f *testing.F) {
	f.Add(uint32(10), uint32(0), byte(0), int8(0), uint64(1))
	f.Add(uint32(HoldBack+5), uint32(HoldBack+4), byte(1), int8(0), uint64(2))
	f.Add(uint32(3*HoldBack), uint32(7), byte(0), int8(-1), uint64(3))
	f.Add(uint32(2*HoldBack), uint32(7), byte(0), int8(100), uint64(4))
	f.Fuzz(func(t *testing.T, size, at uint32, flip byte, longer int8, seed uint64) {
		size %= 4 * HoldBack
		right := noise(int(size))
		content := bytes.Clone(right)
		if size > 0 {
			content[at%size] ^= flip
		}
		if longer < 0 {
			content = content[:max(0, len(content)+int(longer))]
		} else {
			content = append(content, noise(int(longer))...)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		r := NewReader(io.NopCloser(&stepReader{bytes.NewReader(content), rng}), of(right))
		var got []byte
		var err error
		for err == nil {
			p := make([]byte, rng.IntN(HoldBack))
			var n int
			n, err = r.Read(p)
			got = append(got, p[:n]...)
		}
		switch {
		case bytes.Equal(content, right):
			if err != io.EOF || !bytes.Equal(got, right) {
				t.Errorf("%d of %d bytes, %v", len(got), size, err)
			}
		case !errors.Is(err, ErrIntegrity) || len(got) > max(0, int(size)-HoldBack):
			t.Errorf("changed content: %d of %d bytes, %v", len(got), size, err)
		}
	})
}

// stepReader reads random amounts.
type stepReader struct {
	r   io.Reader
	rng *rand.Rand
}

func (s *stepReader) Read(p []byte) (int, error) {
	return s.r.Read(p[:s.rng.IntN(len(p)+1)])
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{1000, 100_000, 10_000_000} {
		data := noise(size)
		blob := of(data)
		for how, read := range map[string]func(r *Reader) (int64, error){
			"WriteTo": func(r *Reader) (int64, error) { return r.WriteTo(io.Discard) },
			"Read":    func(r *Reader) (int64, error) { return io.Copy(io.Discard, struct{ io.Reader }{r}) },
		} {
			b.Run(fmt.Sprintf("%d/%s", size, how), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if n, err := read(NewReader(io.NopCloser(bytes.NewReader(data)), blob)); err != nil || n != int64(size) {
						b.Fatal(n, err)
					}
				}
			})
		}
	}
}
