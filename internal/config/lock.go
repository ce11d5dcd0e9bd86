package config

import (
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/snapshot"
)

// MaxLock is the limit of a lock, in bytes (SPEC section 11).
const MaxLock = 64 << 20

const lockMagic = "mmoci-lock-v1"

// lockTime is how dates stand in a lock: UTC, whole seconds.
const lockTime = "2006-01-02T15:04:05Z"

// noURL stands for the URL that a file does not have.
const noURL = "-"

// noComponent stands for the component that a flat archive does not have.
const noComponent = "-"

// Lock is a selection resolved to exact versions and digests (SPEC section 6).
type Lock struct {
	Date     time.Time
	Images   []LockImage // in order of name
	Archives []LockArchive
}

// LockImage is a container image. Digest and Size are of its manifest or image index as it travels, Source is
// the digest of what its reference named, which differs where platforms were left out.
type LockImage struct {
	Name, Digest, Source string
	Size                 int64
	Referrers            []LockReferrer // in order of digest
}

// LockReferrer is a manifest about an image, such as a signature.
type LockReferrer struct {
	Digest string
	Size   int64
}

// LockArchive is an archive's share of a lock.
type LockArchive struct {
	Prefix, Mode, Class string
	Format              string   // "": deb
	Merge               []string // prefixes of what a merged archive is made of, sorted
	From                string   // root ("sha256:<hex>") of the snapshot that it was taken out of; "": none
	KeyURLs             []LockKey
	Releases            []LockRelease
	Indices             []LockIndex
	Packages            []LockPackage
	Files               []LockFile
}

// LockFile is a file of an archive that is no .deb archive, or the .dsc of an own source, its path relative to the archive. URL is where it
// was asked for, "" if nowhere; user and password in it are left out when it is encoded.
type LockFile struct {
	Path, Digest, URL string
	Size              int64
}

// LockKey is a key that came from the network, pinned by its fingerprint (40
// upper-case hex digits). Credentials in the URL are left out when it is encoded.
type LockKey struct{ Fingerprint, URL string }

// LockRelease is upstream's InRelease, or Release: its digest ("sha256:<hex>") and Date.
type LockRelease struct {
	Suite, Digest string
	Date          time.Time
}

// LockIndex is an index that was read, its path relative to the suite.
type LockIndex struct{ Suite, Path, Digest string }

// LockPackage is a package. Component is "" in a flat archive. Reason is free
// text, one line.
type LockPackage struct {
	Suite, Component, Name, Version, Architecture, Digest string
	Size                                                  int64
	Reason                                                string
}

// BuiltReason stands in a reason before what is known of the build of a package of the site's own.
const BuiltReason = "; "

// BuiltOf is what a reason says of the build of a package, "built of sha256:HEX, signed by FINGERPRINT"; "" if it was not built of a
// source by its identity.
func (p *LockPackage) BuiltOf() string {
	if _, built, ok := strings.Cut(p.Reason, BuiltReason+"built of "); ok {
		return "built of " + built
	}
	return ""
}

// Built is what the reasons say of the builds of the site's own packages, as [LockPackage.BuiltOf], by "PREFIX DIGEST".
func (l *Lock) Built() map[string]string {
	out := map[string]string{}
	for i := range l.Archives {
		a := &l.Archives[i]
		for j := range a.Packages {
			if built := a.Packages[j].BuiltOf(); built != "" && a.Class == string(snapshot.Site) {
				out[a.Prefix+" "+a.Packages[j].Digest] = built
			}
		}
	}
	return out
}

// Encode is the canonical form, which is hashed into a snapshot: equal locks
// give equal bytes, whatever the order of their parts.
func (l *Lock) Encode() []byte { return l.encode(false) }

// Format is the form for people: canonical, with comments and a heading.
func (l *Lock) Format() []byte { return l.encode(true) }

func (l *Lock) encode(comments bool) []byte {
	var b bytes.Buffer
	b.WriteString(lockMagic + "\n")
	if comments {
		b.WriteString("# What \"mmoci lock\" resolved. Lines may be edited, reordered and commented; push --lock takes exactly these versions.\n")
	}
	b.WriteString("date " + l.Date.UTC().Format(lockTime) + "\n")
	if comments && len(l.Images) > 0 {
		fmt.Fprintf(&b, "\n# %d container images\n", len(l.Images))
	}
	images := slices.Clone(l.Images)
	slices.SortStableFunc(images, func(a, b LockImage) int { return cmp.Compare(a.Name, b.Name) })
	for _, m := range images {
		fmt.Fprintf(&b, "image %s %s %d %s\n", m.Name, m.Digest, m.Size, m.Source)
		for _, r := range lines(m.Referrers, func(f []string, r LockReferrer) []string {
			return append(f, "referrer", m.Name, r.Digest, strconv.FormatInt(r.Size, 10))
		}) {
			b.WriteString(r + "\n")
		}
	}
	archives := slices.Clone(l.Archives)
	slices.SortStableFunc(archives, func(a, b LockArchive) int { return cmp.Compare(a.Prefix, b.Prefix) })
	for _, a := range archives {
		a.encode(&b, comments)
	}
	return b.Bytes()
}

func (a *LockArchive) encode(b *bytes.Buffer, comments bool) {
	if comments {
		fmt.Fprintf(b, "\n# %s: %s\n", a.Prefix, a.summary())
	}
	b.WriteString(strings.TrimSuffix(strings.Join([]string{"archive", a.Prefix, a.Mode, a.Class, a.Format}, " "), " ") + "\n")
	if len(a.Merge) > 0 {
		fmt.Fprintf(b, "merge %s %s\n", a.Prefix, strings.Join(slices.Sorted(slices.Values(a.Merge)), " "))
	}
	if a.From != "" {
		fmt.Fprintf(b, "from %s %s\n", a.Prefix, a.From)
	}
	for _, group := range [][]string{
		lines(a.KeyURLs, func(f []string, k LockKey) []string {
			return append(f, "key-url", a.Prefix, k.Fingerprint, PublicURL(k.URL))
		}),
		lines(a.Releases, func(f []string, r LockRelease) []string {
			return append(f, "release", a.Prefix, r.Suite, r.Digest, r.Date.UTC().Format(lockTime))
		}),
		lines(a.Indices, func(f []string, x LockIndex) []string { return append(f, "index", a.Prefix, x.Suite, x.Path, x.Digest) }),
		lines(a.Packages, func(f []string, p LockPackage) []string {
			f = append(f, "package", a.Prefix, p.Suite, cmp.Or(p.Component, noComponent), p.Name, p.Version, p.Architecture, p.Digest, strconv.FormatInt(p.Size, 10))
			if reason := document.OneLine(p.Reason); reason != "" {
				f = append(f, reason)
			}
			return f
		}),
		lines(a.Files, func(f []string, x LockFile) []string {
			from := noURL
			if x.URL != "" {
				from = PublicURL(x.URL)
			}
			return append(f, "file", a.Prefix, x.Path, x.Digest, strconv.FormatInt(x.Size, 10), from)
		}),
	} {
		size := 0
		for _, line := range group {
			size += len(line) + 1
		}
		b.Grow(size) // of a whole release megabytes: no room is taken that is not filled
		for _, line := range group {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
}

func (a *LockArchive) summary() string {
	if a.Mode == "verbatim" {
		return fmt.Sprintf("verbatim, pinned by the digest of %d Release files", len(a.Releases))
	}
	if len(a.Merge) > 0 {
		return "the highest version of each package of " + strings.Join(a.Merge, ", ")
	}
	var size int64
	if a.Format != "" {
		for _, f := range a.Files {
			size += f.Size
		}
		return fmt.Sprintf("%d files, %.1f MB", len(a.Files), float64(size)/1e6)
	}
	for _, p := range a.Packages {
		size += p.Size
	}
	return fmt.Sprintf("%d packages, %.1f MB", len(a.Packages), float64(size)/1e6)
}

// lines joins the fields of each entry, appended to f, by one space and sorts the
// lines bytewise; equal ones stand once.
func lines[T any](entries []T, fields func(f []string, e T) []string) []string {
	out := make([]string, len(entries))
	var f []string
	for i, e := range entries {
		f = fields(f[:0], e)
		out[i] = strings.Join(f, " ")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// PublicURL is a URL without credentials: a lock travels with the snapshot.
func PublicURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return transfer.Redact(s)
	}
	u.User = nil
	return u.String()
}
