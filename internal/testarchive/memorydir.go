package testarchive

import (
	"os"
	"testing"
)

// MemoryDir is a temporary directory on a RAM disk where there is one: what
// is written here is synced hundreds of times, and nobody wants it after a power cut.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mmoci-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
