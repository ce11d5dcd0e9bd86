package testarchive

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// compressed are what Compress made, by compression and SHA256 of what it compressed: tests build
// the same packages over and over, and half of their time was spent here.
var compressed sync.Map

// Compress packs data as xz, gz, zst, or none. The bytes depend on the module
// versions in go.mod, not on the Go release. Safe for concurrent use.
func Compress(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	key := fmt.Sprintf("%s %x", name, sha256.Sum256(data))
	if made, ok := compressed.Load(key); ok {
		return bytes.Clone(made.([]byte))
	}
	made := compress(t, name, data)
	compressed.Store(key, bytes.Clone(made))
	return made
}

func compress(t testing.TB, name string, data []byte) []byte {
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
