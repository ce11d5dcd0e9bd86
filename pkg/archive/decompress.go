package archive

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"math"
	"path"

	"example.org/mmoci/pkg/xz"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

// MaxDictionary bounds what xz, lzma and zstd data may ask as a dictionary or
// window, in bytes. xz -9 takes half of it, zstd --ultra -22 all of it.
const MaxDictionary = 128 << 20

// expansion is how much room a decompressed index is given at first, per byte
// of its compressed form. Packages files grow about sixfold. The allocation thus
// follows bytes that are there, not a size that somebody declared.
const expansion = 8

var errTooLong = errors.New("longer than expected when decompressed")

// Decompress returns the decompressed bytes of an index, by the ending of
// name: .xz, .gz, .bz2, .lzma, .zst, none. More than limit bytes is an error,
// found before they are held in memory; so is a dictionary over MaxDictionary
// and a file that ends early. Several gzip members, xz streams or zstd frames
// in a row are one file. Data without such an ending is returned as it is.
func Decompress(name string, data []byte, limit int64) ([]byte, error) {
	var out []byte
	r, err := decompressor(path.Ext(name), data, limit)
	switch {
	case err != nil:
	case r != nil:
		defer r.Close()
		out, err = readBounded(r, int64(len(data))*expansion, limit)
	case int64(len(data)) > limit:
		err = tooLong(limit)
	default:
		out = data
	}
	return out, named(name, err)
}

// DecompressTo writes to w what Decompress returns. On an error some of it may have been
// written, no more than one byte over the limit. An error of w is returned as it is.
func DecompressTo(w io.Writer, name string, data []byte, limit int64) error {
	r, err := decompressor(path.Ext(name), data, limit)
	if r == nil && err == nil {
		r = io.NopCloser(bytes.NewReader(data))
	}
	if err != nil {
		return named(name, err)
	}
	defer r.Close()
	limit = max(0, min(limit, math.MaxInt64-1))
	bounded := &io.LimitedReader{R: r, N: limit + 1}
	written := onlyWriter{w: w}
	n, err := io.CopyBuffer(&written, bounded, make([]byte, pieceSize))
	switch {
	case written.err != nil:
		return written.err
	case err == nil && n > limit:
		err = tooLong(limit)
	}
	return named(name, err)
}

// onlyWriter keeps the error of a writer apart from those of what is read.
type onlyWriter struct {
	w   io.Writer
	err error
}

func (o *onlyWriter) Write(p []byte) (n int, err error) {
	n, err = o.w.Write(p)
	o.err = err
	return n, err
}

// named adds the name of the file, and lets no error be the end of anything.
func named(name string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path.Base(name), err)
	}
	return nil
}

// decompressor reads data decompressed, by its ending; nil if that names no compression.
func decompressor(ending string, data []byte, limit int64) (io.ReadCloser, error) {
	var r io.Reader
	var err error
	switch ending {
	default:
		return nil, nil
	case ".lz4", ".br", ".Z":
		return nil, fmt.Errorf("compression %s is not supported", ending)
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(data))
	case ".bz2":
		r = bzip2.NewReader(bytes.NewReader(data))
	case ".xz":
		r = xz.NewReader(bytes.NewReader(data), xz.Options{MaxDictionary: MaxDictionary, Output: max(limit, 0) + 1})
	case ".lzma":
		r, err = lzma.ReaderConfig{DictCap: MaxDictionary}.NewReader(bytes.NewReader(data))
	case ".zst":
		if len(data) == 0 { // to the decoder no frames are a file, too
			return nil, io.ErrUnexpectedEOF
		}
		var z *zstd.Decoder
		z, err = zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(MaxDictionary), zstd.WithDecoderMaxMemory(MaxDictionary))
		if err == nil {
			return z.IOReadCloser(), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

func tooLong(limit int64) error { return fmt.Errorf("%w: over %d bytes", errTooLong, limit) }

// readBounded reads all of r, at most limit bytes; room is a guess.
func readBounded(r io.Reader, room, limit int64) ([]byte, error) {
	limit = max(0, min(limit, math.MaxInt64-1))
	var b bytes.Buffer
	b.Grow(int(min(room, limit)) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLong(limit)
	}
	return b.Bytes(), nil
}

// errMember marks a file that is not one gzip member and nothing else.
var errMember = errors.New("not exactly one gzip member")

// GunzipMember decompresses data, which must be one gzip member and nothing behind
// it. More than limit bytes is an error, found before they are held in memory.
func GunzipMember(data []byte, limit int64) ([]byte, error) {
	rest := bytes.NewReader(data) // an io.ByteReader: nothing behind the member is consumed
	z, err := gzip.NewReader(rest)
	if err == nil {
		z.Multistream(false)
		data, err = readBounded(z, int64(len(data))*expansion, limit)
	}
	switch {
	case errors.Is(err, io.EOF): // never to be taken for the end of anything
		return nil, fmt.Errorf("%w: %w", errMember, io.ErrUnexpectedEOF)
	case err != nil:
		return nil, err
	case rest.Len() > 0:
		return nil, fmt.Errorf("%w: %d bytes behind it", errMember, rest.Len())
	}
	return data, nil
}
