package rpm

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"example.org/mmoci/pkg/xz"
)

// maxWindow bounds the dictionary or window of compressed metadata, in bytes. createrepo_c's take 8 MiB at most.
const maxWindow = 64 << 20

// Decompress reads a file of metadata decompressed, by the ending of its name: .gz, .xz, .zst, .bz2 or none. More than
// limit bytes are an error, as is a file that ends early. The reader is as good as r: it verifies nothing.
func Decompress(name string, r io.Reader, limit int64) (io.ReadCloser, error) {
	var out io.Reader
	end := func() {}
	switch path.Ext(name) {
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), early(err))
		}
		out = z
	case ".xz":
		out = xz.NewReader(r, xz.Options{MaxDictionary: maxWindow, Output: limit + 1})
	case ".zst":
		in := bufio.NewReaderSize(r, 64<<10)
		if _, err := in.Peek(1); err != nil { // no frame is a file to the decoder
			return nil, fmt.Errorf("%s: %w", path.Base(name), early(err))
		}
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
		out, end = z, z.Close
	case ".bz2":
		out = bzip2.NewReader(r)
	case ".xml":
		out = r
	default:
		return nil, fmt.Errorf("%w: %s has a compression that is not known (known: gz, xz, zst, bz2)", ErrMalformed, path.Base(name))
	}
	return &decompressed{&limited{r: out, left: limit}, end}, nil
}

type decompressed struct {
	io.Reader
	end func()
}

func (d *decompressed) Close() error {
	d.end()
	return nil
}

// early is an end that comes too soon.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
