package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/config"
)

// maxAptFile bounds one file of apt's sources.
const maxAptFile = 16 << 20

// Init makes a commented mmoci.yaml of the apt of a system: its sources, and
// the names of its lists, which tell its architecture. It reads below root only.
func Init(root string, pkgs []string) ([]byte, error) {
	files := map[string][]byte{}
	etc := filepath.Join(root, "etc/apt")
	names := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.sources", "*.list"} {
		found, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	for _, name := range names {
		data, err := readSmall(name, maxAptFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: apt's sources: %w", ErrUsage, err)
		}
		files[name] = data
	}
	entries, err := os.ReadDir(filepath.Join(root, "var/lib/apt/lists"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("apt's lists: %w", err)
	}
	var lists []string
	for _, e := range entries {
		if strings.Contains(e.Name(), "_Packages") {
			lists = append(lists, e.Name())
		}
	}
	return config.FromApt(files, lists, pkgs)
}
