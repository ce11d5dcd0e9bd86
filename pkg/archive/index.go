package archive

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
)

// MaxIndex bounds a decompressed index whose plain size is not listed. The
// largest real one, Contents-source, is 816 MB; Packages are under 100 MB.
const MaxIndex = 1 << 30

// IndexEndings are the endings of an index's compressions in order of
// preference: the first that an archive really has is taken.
var IndexEndings = []string{".xz", ".gz", ""}

// indexPath matches COMPONENT/binary-ARCH/Packages, COMPONENT/source/Sources, and the
// bare names of flat archives.
var indexPath = regexp.MustCompile(`^(?:(.+)/binary-([^/]+)/Packages|(.+)/source/Sources|Packages|Sources)$`)

// IndexName takes the listed path of a Packages or Sources index apart; arch is
// "source" for the latter. Those of udebs (debian-installer) are not ok.
func IndexName(p string) (component, arch string, ok bool) {
	plain := PlainName(p)
	m := indexPath.FindStringSubmatch(plain)
	if m == nil || path.Base(m[1]) == "debian-installer" {
		return "", "", false
	}
	if arch = m[2]; path.Base(plain) == "Sources" {
		arch = "source"
	}
	return m[1] + m[3], arch, true
}

// PlainName is an index's path without the ending of its compression.
func PlainName(p string) string {
	for _, e := range IndexEndings {
		if stem, ok := strings.CutSuffix(p, e); ok && e != "" {
			return stem
		}
	}
	return p
}

// Compressions are the listed files of an index by its plain path, in order of IndexEndings.
func (r *Release) Compressions(plain string) []ReleaseFile {
	var out []ReleaseFile
	for _, e := range IndexEndings {
		if f, ok := r.File(plain + e); ok {
			out = append(out, f)
		}
	}
	return out
}

// Unpack decompresses a listed index and compares the plain bytes, too, with
// what the Release says of them, as apt does. More than limit bytes are an error
// before they are held in memory.
func (r *Release) Unpack(f ReleaseFile, stored []byte, limit int64) ([]byte, error) {
	plain, ok := r.File(PlainName(f.Path))
	if !ok {
		return Decompress(f.Path, stored, limit)
	}
	if plain.Size > limit {
		return nil, fmt.Errorf("%s is listed with %d bytes, more than the limit of %d", plain.Path, plain.Size, limit)
	}
	data, err := Decompress(f.Path, stored, plain.Size)
	if err != nil {
		return nil, err
	}
	if err := plain.Matches(data); err != nil {
		return nil, fmt.Errorf("decompressed: %w", err)
	}
	return data, nil
}

// UnpackTo writes to w what Unpack returns. What it wrote counts only if it returns
// nil: the digest of the plain bytes is known at their end.
func (r *Release) UnpackTo(w io.Writer, f ReleaseFile, stored []byte, limit int64) error {
	plain, ok := r.File(PlainName(f.Path))
	if !ok {
		return DecompressTo(w, f.Path, stored, limit)
	}
	if plain.Size > limit {
		return fmt.Errorf("%s is listed with %d bytes, more than the limit of %d", plain.Path, plain.Size, limit)
	}
	m := plain.matcher()
	if err := DecompressTo(io.MultiWriter(w, m), f.Path, stored, plain.Size); err != nil {
		return err
	}
	if err := m.matches(); err != nil {
		return fmt.Errorf("decompressed: %w", err)
	}
	return nil
}

// matcher compares what is written to it with what a Release says of a file.
type matcher struct {
	f      ReleaseFile
	n      int64
	sha256 hash.Hash
	sha512 hash.Hash // nil: not listed
}

func (f ReleaseFile) matcher() *matcher {
	m := &matcher{f: f, sha256: sha256.New()}
	if f.SHA512 != "" {
		m.sha512 = sha512.New()
	}
	return m
}

// Write implements io.Writer; it never fails.
func (m *matcher) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	m.sha256.Write(p)
	if m.sha512 != nil {
		m.sha512.Write(p)
	}
	return len(p), nil
}

func (m *matcher) matches() error {
	switch {
	case m.n > m.f.Size:
		return fmt.Errorf("longer than the %d bytes listed", m.f.Size)
	case m.n < m.f.Size:
		return fmt.Errorf("%d bytes, listed are %d", m.n, m.f.Size)
	}
	if sum := hex.EncodeToString(m.sha256.Sum(nil)); sum != m.f.SHA256 {
		return fmt.Errorf("SHA256 is %s, listed is %s", sum, m.f.SHA256)
	}
	if m.sha512 != nil {
		if sum := hex.EncodeToString(m.sha512.Sum(nil)); sum != m.f.SHA512 {
			return fmt.Errorf("SHA512 is %s, listed is %s", sum, m.f.SHA512)
		}
	}
	return nil
}

// Matches compares bytes with what a Release says of them.
func (f ReleaseFile) Matches(data []byte) error {
	m := f.matcher()
	if int64(len(data)) == f.Size { // else there is no need to
		m.Write(data)
	} else {
		m.n = int64(len(data))
	}
	return m.matches()
}

// SameRelease returns an integrity error unless InRelease signs the very text of
// Release: otherwise two clients could be shown two archives.
func SameRelease(in, text []byte) error {
	signed, _, err := pgp.VerifyClearsigned(in, pgp.Trust{})
	if err != nil {
		return err
	}
	if !bytes.Equal(bytes.TrimRight(signed, "\n"), bytes.TrimRight(text, "\n")) {
		return fmt.Errorf("%w: InRelease and Release differ", ErrIntegrity)
	}
	return nil
}

// Pin is apt's default priority of a suite (apt_preferences(5)).
func (r *Release) Pin() int {
	switch {
	case r.NotAutomatic && r.ButAutomaticUpgrades:
		return 100
	case r.NotAutomatic:
		return 1
	}
	return 500
}

// SourceFiles reads Directory and Checksums-Sha256 of a source stanza
// (deb-src-control(5), dsc(5)), whose lines are "digest size name". Paths are
// relative to the archive root.
func SourceFiles(st deb.Stanza) ([]ReleaseFile, error) {
	sums := st.Get("Checksums-Sha256")
	if sums == "" {
		return nil, errors.New("no Checksums-Sha256")
	}
	var out []ReleaseFile
	for line := range strings.Lines(sums) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("Checksums-Sha256: %q is not digest, size and name", strings.TrimSpace(line))
		}
		if fields[0] == "" || !isDigest(fields[0], sha256.Size) {
			return nil, fmt.Errorf("Checksums-Sha256: %q is no digest", fields[0])
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("Checksums-Sha256: size %q", fields[1])
		}
		p := path.Join(st.Get("Directory"), fields[2])
		if err := ValidPath(p); err != nil || strings.Contains(fields[2], "/") {
			return nil, fmt.Errorf("file name %q climbs out of its directory", fields[2])
		}
		out = append(out, ReleaseFile{Path: p, Size: size, SHA256: fields[0]})
	}
	return out, nil
}
