package testarchive

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Compress packs data as xz, gz, zst, or none. The bytes depend on the module
// versions in go.mod, not on the Go release.
func Compress(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "none", "":
		return data
	case "xz":
		// A dictionary no larger than the data: the default takes 8 MiB for each of many tiny files.
		w, err = xz.WriterConfig{DictCap: min(max(len(data), lzma.MinDictCap), 1<<16)}.NewWriter(&out)
	case "gz":
		w, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	case "zst":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		t.Fatalf("testarchive: compression %q", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
