package deb

import (
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the window that decompressing control.tar may take, bytes.
// zstd -19, which dpkg uses, wants 8 MiB and --ultra -20 this; xz gets by with
// less than it declares as long as the output is not larger.
const maxWindow = 32 << 20

// readMember decompresses r, a control.tar, by the ending of its name, in bounded
// memory and up to MaxControlTar bytes, and has read take it.
func readMember(r io.Reader, ending string, read func(r io.Reader) (Stanza, error)) (Stanza, error) {
	return readCompressed(r, ending, limit{MaxControlTar, errTarLong}, read)
}

// limit is how many bytes may come out of a decompressor, and the error when there are more.
type limit struct {
	bytes int64
	err   error
}

// readCompressed is readMember for other contents.
func readCompressed[T any](r io.Reader, ending string, l limit, read func(r io.Reader) (T, error)) (T, error) {
	var out io.Reader
	var none T
	switch ending {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return none, truncated(err)
		}
		out = z
	case ".xz":
		out = newXZReader(r, maxWindow)
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(uint64(l.bytes)))
		if err != nil {
			return none, truncated(err)
		}
		defer z.Close()
		out = z
	default:
		out = r
	}
	return read(&limitedReader{r: out, left: l.bytes, long: l.err})
}

// limitedReader gives up to left bytes and then long rather than an end.
type limitedReader struct {
	r    io.Reader
	left int64
	long error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		return int(l.left), l.long
	}
	l.left -= int64(n)
	return n, err
}

// truncated tells the end of input inside a header by its right name.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
