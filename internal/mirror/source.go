package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// sourceFiles adds every file that a Sources index names (.dsc, tarballs).
func (b *builder) sourceFiles(fa *frozenArchive, data []byte) error {
	for st, err := range deb.Stanzas(data) {
		if err != nil {
			return fmt.Errorf("index Sources: %w", err)
		}
		rows, err := sourceRows(st)
		if err != nil {
			return fmt.Errorf("source %s: %w", st.Get("Package"), err)
		}
		for _, r := range rows {
			name, size := r.Path, r.Size
			r.Path = fa.Prefix + "/" + r.Path
			b.rows = append(b.rows, r)
			b.origins.add(r.Digest, origin{r.Path, func(ctx context.Context) (io.ReadCloser, error) { return fa.up.Open(ctx, name, size) }})
		}
	}
	return nil
}

// sourceRows reads Directory and Checksums-Sha256 of a source stanza
// (deb-src-control, dsc(5)): "digest size name" a line.
func sourceRows(st deb.Stanza) ([]snapshot.Row, error) {
	sums := st.Get("Checksums-Sha256")
	if sums == "" {
		return nil, errors.New("no Checksums-Sha256")
	}
	var out []snapshot.Row
	for line := range strings.Lines(sums) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("Checksums-Sha256: %q is not digest, size and name", strings.TrimSpace(line))
		}
		d, err := snapshot.ParseDigest("sha256:" + fields[0])
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("Checksums-Sha256: size %q", fields[1])
		}
		p := path.Join(st.Get("Directory"), fields[2])
		if err := archive.ValidPath(p); err != nil || strings.Contains(fields[2], "/") {
			return nil, fmt.Errorf("file name %q climbs out of its directory", fields[2])
		}
		out = append(out, snapshot.Row{Path: p, Size: size, Digest: d})
	}
	return out, nil
}
