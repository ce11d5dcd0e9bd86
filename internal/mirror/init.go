package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/archive"
)

// maxAptFile bounds one file of apt's, decompressed where it is.
const maxAptFile = 512 << 20

// Init makes a commented mmoci.yaml of the apt of a system: its sources, and
// its lists, which tell where each package belongs. It reads below root only.
func Init(ctx context.Context, root string, pkgs []string) ([]byte, error) {
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
	if len(pkgs) > 0 {
		if err := aptLists(ctx, filepath.Join(root, "var/lib/apt/lists"), files); err != nil {
			return nil, err
		}
	}
	return config.FromApt(files, pkgs)
}

// aptLists adds apt's indices under the names that they have decompressed. What
// cannot be read is left out: then a package stands at the first archive.
func aptLists(ctx context.Context, dir string, files map[string][]byte) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("apt's lists: %w", err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		stem := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name()))
		if strings.HasSuffix(e.Name(), "_Packages") {
			stem = e.Name()
		} else if !strings.HasSuffix(stem, "_Packages") {
			continue
		}
		if data, err := readAptList(ctx, filepath.Join(dir, e.Name())); err == nil {
			files[stem] = data
		}
	}
	return nil
}

// readAptList reads an index as apt keeps it: plain, or in one of its
// compressions, of which lz4 is apt's own affair.
func readAptList(ctx context.Context, name string) ([]byte, error) {
	if filepath.Ext(name) == ".lz4" {
		cmd := exec.CommandContext(ctx, "/usr/lib/apt/apt-helper", "cat-file", name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(out, maxAptFile))
		return data, errors.Join(err, cmd.Wait())
	}
	data, err := readSmall(name, maxAptFile)
	if err != nil || strings.HasSuffix(name, "_Packages") {
		return data, err
	}
	return archive.Decompress(name, data, maxAptFile)
}
