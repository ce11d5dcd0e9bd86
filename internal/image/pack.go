package image

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/pkg/snapshot"
)

// EncoderGeneration numbers what compressed layers look like: a blob follows from its tar, the compression and this number. It rises
// when another library or level would write other bytes; diffIDs stay.
//
//	1: klauspost/compress v1.20.3, gzip, level 5; zstd, default level, one goroutine
const EncoderGeneration = 1

const gzipLevel = 5

// LayerType is the media type of layers of a compression.
func LayerType(compression string) string {
	switch compression {
	case imageplan.Zstd:
		return TypeZstdLayer
	case imageplan.Uncompressed:
		return TypeLayer
	}
	return TypeGzipLayer
}

// Encoding is the compression with what decides its bytes.
func Encoding(compression string) string {
	if compression == imageplan.Uncompressed {
		return compression
	}
	return fmt.Sprintf("%s %d", compression, EncoderGeneration)
}

// Pack compresses into w the tar that write writes, and returns the blob. The gzip header has neither name nor time.
func Pack(w io.Writer, compression string, write func(io.Writer) (tar snapshot.Blob, err error)) (blob, tar snapshot.Blob, err error) {
	h := sha256.New()
	var written int64
	sink := bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		n, err := w.Write(b)
		h.Write(b[:n])
		written += int64(n)
		return n, err
	}), 256<<10)
	var enc io.WriteCloser
	switch compression {
	case imageplan.Gzip:
		enc, err = gzip.NewWriterLevel(sink, gzipLevel)
	case imageplan.Zstd:
		enc, err = zstd.NewWriter(sink, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20))
	case imageplan.Uncompressed:
		enc = nopCloser{sink}
	default:
		err = fmt.Errorf("compression %q", compression)
	}
	if err != nil {
		return blob, tar, err
	}
	tar, err = write(enc)
	if err := cmp.Or(err, enc.Close(), sink.Flush()); err != nil {
		return blob, tar, err
	}
	return snapshot.Blob{Digest: snapshot.Digest(h.Sum(nil)), Size: written}, tar, nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
