package oci

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Kind of place.
type Kind uint8

const (
	Registry Kind = iota // HOST/REPO[:TAG][@DIGEST]
	Layout               // oci:DIR[:TAG][@DIGEST], oci:DIR:REPO:TAG[@DIGEST]
	Archive              // oci-archive:FILE[:TAG][@DIGEST], oci-archive:FILE:REPO:TAG[@DIGEST]
)

const (
	layoutPrefix  = "oci:"
	archivePrefix = "oci-archive:"
	DefaultTag    = "latest"

	MaxTag  = 128 // distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
	maxName = 255 // host and repository together: many clients' limit
)

// Reference names an artifact: a place, and a tag or digest in it.
type Reference struct {
	Kind   Kind
	Name   string          // HOST/REPO, DIR or FILE
	Tag    string          // "latest" if none was given and no digest; REPO:TAG of an image in a layout or oci-archive
	Digest snapshot.Digest // the zero value: none was given
}

// ParseReference reads the forms
//
//	HOST/REPO[:TAG][@DIGEST]
//	oci:DIR[:TAG][@DIGEST]
//	oci:DIR:REPO:TAG[@DIGEST]
//	oci-archive:FILE[:TAG][@DIGEST]
//	oci-archive:FILE:REPO:TAG[@DIGEST]
//
// HOST has a dot or a port, or is localhost; there is no default registry. It
// may be an IPv6 address in brackets.
//
// After the first colon of DIR or FILE behind which nothing but REPO:TAG stands, that names an image, as
// skopeo spells it: "oci:a:b:c" is the image b:c in the directory a. Else what follows the last colon is a tag, if
// it can be one. So a directory with a colon in its name is written with a slash at its end: "oci:a:b/" or "oci:a:b/:tag".
//
// DIGEST is sha256 in lower case, and not 64 zeros; a HOST below .invalid is a placeholder like these. A bare word that looks like a package name
// ("docker-ce") is refused and told so; so is an upper-case repository. The
// file system is not consulted. Every error wraps ErrReference.
func ParseReference(s string) (Reference, error) {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return Reference{}, fmt.Errorf("%w %q: control character", ErrReference, s)
	}
	if strings.HasSuffix(s, "@") {
		return Reference{}, fmt.Errorf("%w %q: no digest behind the @ (is a variable empty?); a directory of that name is written with a slash at its end", ErrReference, s)
	}
	rest, digest, err := cutDigest(s)
	if err != nil {
		return Reference{}, fmt.Errorf("%w %q: %w", ErrReference, s, err)
	}
	r := Reference{Digest: digest}
	if dir, ok := strings.CutPrefix(rest, layoutPrefix); ok {
		r.Kind = Layout
		err = r.setFile(dir)
	} else if file, ok := strings.CutPrefix(rest, archivePrefix); ok {
		r.Kind = Archive
		err = r.setFile(file)
	} else {
		err = r.setRegistry(rest)
	}
	if err != nil {
		return Reference{}, fmt.Errorf("%w %q: %w", ErrReference, s, err)
	}
	if r.Tag == "" && r.Digest.IsZero() {
		r.Tag = DefaultTag
	}
	return r, nil
}

// cutDigest splits "@sha256:HEX" off the end.
func cutDigest(s string) (rest string, d snapshot.Digest, err error) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s, d, nil
	}
	algorithm, _, ok := strings.Cut(s[i+1:], ":")
	if !ok || !strings.HasPrefix(strings.ToLower(algorithm), "sha") || strings.Contains(s[i:], "/") {
		return s, d, nil // an @ of a file name; a repository with one is refused later
	}
	d, err = snapshot.ParseDigest(s[i+1:])
	if err != nil {
		return "", d, err
	}
	return s[:i], d, nil
}

// setFile reads DIR, DIR:TAG or DIR:REPO:TAG.
func (r *Reference) setFile(s string) error {
	r.Name, r.Tag = cutName(s)
	if r.Name == "" {
		return fmt.Errorf("no file name after %q", [...]string{Layout: layoutPrefix, Archive: archivePrefix}[r.Kind])
	}
	r.Name = filepath.Clean(r.Name)
	return nil
}

// cutName splits the tag, or the REPO:TAG of an image, off the name of a directory or file.
func cutName(s string) (name, tag string) {
	for i := range len(s) {
		if s[i] == ':' && ValidImageName(s[i+1:]) {
			return s[:i], s[i+1:]
		}
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && ValidTag(s[i+1:]) {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// ValidImageName tells whether s is REPO:TAG, the name that an image has in a layout.
func ValidImageName(s string) bool {
	i := strings.LastIndexByte(s, ':')
	return i > 0 && len(s) <= maxName+1+MaxTag && ValidTag(s[i+1:]) && checkRepository(s[:i]) == nil
}

// setRegistry reads HOST/REPO[:TAG].
func (r *Reference) setRegistry(s string) error {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return fmt.Errorf("a reference has no %q; write %q", scheme+"://", strings.TrimSuffix(rest, "/"))
	}
	if isPath(s) {
		return fmt.Errorf("a path; write oci:%s for an OCI layout there, oci-archive:%s for a file", s, s)
	}
	host, repo, ok := strings.Cut(s, "/")
	if !ok {
		return bareWord(s)
	}
	if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		if !ValidTag(repo[i+1:]) {
			return noTag(repo[i+1:])
		}
		repo, r.Tag = repo[:i], repo[i+1:]
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return fmt.Errorf("%q is no registry: write HOST/%s, HOST with a dot or a port (there is no default registry)", host, s)
	}
	if err := checkHost(host); err != nil {
		return err
	}
	if isPlaceholder(host) {
		return fmt.Errorf("%s is a placeholder; name your registry", host)
	}
	if err := checkRepository(repo); err != nil {
		return err
	}
	r.Name = strings.ToLower(host) + "/" + repo
	if len(r.Name) > maxName {
		return fmt.Errorf("host and repository have %d characters, the limit is %d", len(r.Name), maxName)
	}
	return nil
}

// isPath tells names that only a file can have.
func isPath(s string) bool {
	first, _, _ := strings.Cut(s, "/")
	return first == "." || first == ".." || first == "~" || first == "" && s != ""
}

// isPlaceholder tells hosts that nobody can have (RFC 6761 section 6.4): a configuration that was written to be filled in has one.
func isPlaceholder(host string) bool {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	return strings.HasSuffix(name, ".invalid")
}

// bareWord says what a word without a slash may have been meant to be.
func bareWord(s string) error {
	name, _, _ := strings.Cut(s, "=")
	switch {
	case s == "":
		return fmt.Errorf("empty; want HOST/REPO:TAG, oci:DIR or oci-archive:FILE")
	case isPackageName(name):
		return fmt.Errorf("%s is %w, not a reference", s, ErrPackage)
	case checkHost(s) == nil:
		return fmt.Errorf("a host without a repository; want %s/REPO:TAG", s)
	}
	return fmt.Errorf("want HOST/REPO:TAG, oci:DIR or oci-archive:FILE")
}

// isPackageName follows Debian policy 5.6.1.
func isPackageName(s string) bool {
	if len(s) < 2 || !isLowerAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerAlnum(c) && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// ValidTag tells whether s is a tag by the distribution-spec.
func ValidTag(s string) bool {
	if s == "" || len(s) > MaxTag {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if isLowerAlnum(c) || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-') {
			continue
		}
		return false
	}
	return true
}

func noTag(s string) error {
	return fmt.Errorf("tag %.200q: want up to %d of letters, digits, . _ -, the first not . or -", s, MaxTag)
}

// CheckTag refuses a tag that no parser gave: it becomes part of URLs and documents.
func (r Reference) CheckTag() error {
	if r.Tag != "" && !ValidTag(r.Tag) && (r.Kind == Registry || !ValidImageName(r.Tag)) {
		return fmt.Errorf("%w %s: %w", ErrReference, r.Name, noTag(r.Tag))
	}
	return nil
}

// checkHost accepts a name or address with an optional port.
func checkHost(host string) error {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q of host %q", port, host)
		}
		name = h
		if strings.HasPrefix(host, "[") {
			name = "[" + h + "]"
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !ok || err != nil || !a.Is6() || a.Zone() != "" {
			return fmt.Errorf("host %q: want an IPv6 address between the brackets", host)
		}
		return nil
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("host %q", host)
	}
	for i := range len(name) {
		if c := name[i]; !isLowerAlnum(c) && !('A' <= c && c <= 'Z') && c != '.' && c != '-' {
			return fmt.Errorf("host %q: character %q (an IPv6 address stands in brackets)", host, c)
		}
	}
	return nil
}

// checkRepository holds the distribution-spec's grammar of <name>:
// parts of [a-z0-9]+ joined by ".", "_", "__" or dashes.
func checkRepository(repo string) error {
	if lower := strings.ToLower(repo); lower != repo {
		return fmt.Errorf("repository %q: upper case is not allowed; did you mean %q?", repo, lower)
	}
	for part := range strings.SplitSeq(repo, "/") {
		if !validRepositoryPart(part) {
			return fmt.Errorf("repository %q: part %q; want a-z, 0-9 and single . or _ or dashes between them", repo, part)
		}
	}
	return nil
}

func validRepositoryPart(p string) bool {
	if p == "" || !isLowerAlnum(p[0]) || !isLowerAlnum(p[len(p)-1]) {
		return false
	}
	for i := 0; i < len(p); {
		j := i
		for j < len(p) && !isLowerAlnum(p[j]) {
			j++
		}
		switch sep := p[i:j]; {
		case sep == "", sep == ".", sep == "_", sep == "__", strings.Trim(sep, "-") == "":
		default:
			return false
		}
		i = j + 1
	}
	return true
}

// String is the canonical spelling; ParseReference(r.String()) equals r.
func (r Reference) String() string {
	var b strings.Builder
	switch r.Kind {
	case Layout:
		b.WriteString(layoutPrefix)
	case Archive:
		b.WriteString(archivePrefix)
	}
	b.WriteString(r.Name)
	rest := r.Name
	if r.Tag != "" {
		rest += ":" + r.Tag
	}
	if r.Kind != Registry {
		same, digest, err := cutDigest(rest)
		if name, tag := cutName(same); name != r.Name || tag != r.Tag || err != nil || !digest.IsZero() {
			b.WriteByte('/') // so that the end of the name is not read as a tag, a part of one, or a digest
		}
	}
	b.WriteString(rest[len(r.Name):])
	if !r.Digest.IsZero() {
		b.WriteByte('@')
		b.WriteString(r.Digest.String())
	}
	return b.String()
}

// Host is the first part of the name of a registry's reference, Repository the rest.
func (r Reference) Host() string       { h, _, _ := strings.Cut(r.Name, "/"); return h }
func (r Reference) Repository() string { _, p, _ := strings.Cut(r.Name, "/"); return p }

// Tag is a tag of a repository or layout.
type Tag struct {
	Name   string
	Digest snapshot.Digest
	Date   time.Time // of an immutable tag's name, else zero
}

const tagTime = "20060102T150405Z"

// ImmutableTag is NAME-20060102T150405Z-HEX12: date input and root.
func ImmutableTag(name string, date time.Time, root snapshot.Digest) string {
	return name + "-" + date.UTC().Format(tagTime) + "-" + root.Hex()[:12]
}

// ImmutableStem is the NAME of an immutable tag, "" of any other tag.
func ImmutableStem(tag string) string {
	if TagDate(tag).IsZero() {
		return ""
	}
	return tag[:len(tag)-immutableEnd]
}

// MaxAlias leaves room for what immutable and checkpoint tags append.
const MaxAlias = MaxTag - immutableEnd

const immutableEnd = len("-" + tagTime + "-0123456789ab")

// TagDate is the date in an immutable tag's name, zero for any other tag.
func TagDate(name string) time.Time {
	m := regexp.MustCompile(`-([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{12}$`).FindStringSubmatch(name)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse(tagTime, m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Removed is the outcome of Remove.
type Removed struct {
	Tags []string // that are gone
	// Kept are tags that stay because somebody moved a tag
	// meanwhile: theirs, or one to the snapshot that they name.
	Kept []string
	// Refused are the tags that the registry does not let go, in whose place stands why.
	Refused []string
	Reason  error
	// Files and Bytes are what a layout shrank by; a registry frees by its own collection.
	Files int
	Bytes int64
}
