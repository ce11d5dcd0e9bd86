package buildsource

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

const (
	identityHead = "mmoci-source-identity-v1"
	// RecipeVersion numbers how a build is made of an identity: what the same text means. Another one is another identity.
	RecipeVersion = 1
	// MaxIdentity bounds the text of an identity.
	MaxIdentity = 1 << 20
)

// File is a file of a source package.
type File struct {
	Name string
	snapshot.Blob
}

// Identity is all that decides the bytes of a build. Immutable.
type Identity struct {
	Source, Base, Version string // the version of the base, and of what is built
	Files                 []File // the .dsc without its signature, then the others by name
	Patches               []snapshot.Blob
	BuildArch, HostArch   string
	What                  string // Any, All or AnyAndAll
	Profiles              []string
	Options               []string
	Env                   []string
	Date                  time.Time       // SOURCE_DATE_EPOCH
	Environment           snapshot.Digest // of the lines of all packages that are there while it is built
}

// Text is the identity in its one form; equal identities have equal texts (artifacts/SPEC.md, "The source").
func (d *Identity) Text() []byte {
	return fmt.Appendf(d.recipe(), "environment %s\n", d.Environment)
}

// Digest is what the identity is called by: the SHA-256 of its text.
func (d *Identity) Digest() snapshot.Digest { return snapshot.Sum(d.Text()) }

// Recipe is the digest of the text without the environment: the same change, whatever it is built in.
func (d *Identity) Recipe() snapshot.Digest { return snapshot.Sum(d.recipe()) }

func (d *Identity) recipe() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nrecipe-version %d\nsource %s %s %s\n", identityHead, RecipeVersion, d.Source, d.Base, d.Version)
	for _, f := range d.Files {
		fmt.Fprintf(&b, "file %s %s\n", f.Blob, f.Name)
	}
	for _, p := range d.Patches {
		fmt.Fprintf(&b, "patch %s\n", p)
	}
	fmt.Fprintf(&b, "architecture %s %s %s\n", d.BuildArch, d.HostArch, d.What)
	for key, list := range sections(d) {
		for _, s := range list {
			fmt.Fprintf(&b, "%s %s\n", key, s)
		}
	}
	fmt.Fprintf(&b, "date %s\n", snapshot.FormatDate(d.Date))
	return b.Bytes()
}

func sections(d *Identity) func(yield func(string, []string) bool) {
	return func(yield func(string, []string) bool) {
		_ = yield("profile", d.Profiles) && yield("option", d.Options) && yield("env", d.Env)
	}
}

// ParseIdentity reads the text of an identity; only the one form that [Identity.Text] writes is one. Errors are of outcome.ErrIntegrity.
func ParseIdentity(text []byte) (*Identity, error) {
	d, err := parseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("%w: identity of a source: %w", outcome.ErrIntegrity, err)
	}
	return d, nil
}

// order is that of the lines.
var order = []string{identityHead, "recipe-version", "source", "file", "patch", "architecture", "profile", "option", "env", "date", "environment"}

func parseIdentity(text []byte) (*Identity, error) {
	if len(text) > MaxIdentity {
		return nil, fmt.Errorf("more than %d bytes", MaxIdentity)
	}
	d := &Identity{}
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		key, rest, _ := strings.Cut(line, " ")
		if err := d.take(key, rest); err != nil {
			return nil, fmt.Errorf("line %d: %.120q: %w", n+1, line, err)
		}
	}
	if err := d.valid(); err != nil {
		return nil, err
	}
	if !bytes.Equal(d.Text(), text) {
		return nil, fmt.Errorf("it is not in canonical form: lines in the order %s, lists sorted", strings.Join(order[1:], ", "))
	}
	return d, nil
}

func (d *Identity) take(key, rest string) (err error) {
	f := strings.Split(rest, " ")
	want := func(n int) bool {
		if len(f) != n {
			err = fmt.Errorf("%d words, want %d", len(f), n)
		}
		return err == nil
	}
	switch key {
	case identityHead:
	case "recipe-version":
		if v, bad := strconv.Atoi(rest); bad == nil && v > RecipeVersion {
			return snapshot.Newer(fmt.Sprintf("version %d of the recipe", v), "")
		} else if bad != nil || v != RecipeVersion {
			return fmt.Errorf("version %.20q of the recipe is not known", rest)
		}
	case "source":
		if want(3) {
			d.Source, d.Base, d.Version = f[0], f[1], f[2]
		}
	case "file":
		if want(3) {
			file := File{Name: f[2]}
			file.Blob, err = snapshot.ParseBlob(f[0], f[1])
			d.Files = append(d.Files, file)
		}
	case "patch":
		if want(2) {
			var b snapshot.Blob
			b, err = snapshot.ParseBlob(f[0], f[1])
			d.Patches = append(d.Patches, b)
		}
	case "architecture":
		if want(3) {
			d.BuildArch, d.HostArch, d.What = f[0], f[1], f[2]
		}
	case "profile":
		d.Profiles = append(d.Profiles, rest)
	case "option":
		d.Options = append(d.Options, rest)
	case "env":
		d.Env = append(d.Env, rest)
	case "date":
		d.Date, err = time.Parse(time.RFC3339, rest)
	case "environment":
		d.Environment, err = snapshot.ParseDigest(rest)
	default:
		err = fmt.Errorf("no such line is known; they are %s", strings.Join(order[1:], ", "))
	}
	return err
}

// valid checks the values; that the lines are all there, and in their order, is told by writing them again.
func (d *Identity) valid() error {
	if !deb.ValidName(d.Source) {
		return fmt.Errorf("source %.80q is no name of a package", d.Source)
	}
	for _, v := range []string{d.Base, d.Version} {
		if err := deb.ValidVersion(v); err != nil {
			return fmt.Errorf("version %.80q: %w", v, err)
		}
	}
	if !strings.HasPrefix(d.Version, d.Base) {
		return fmt.Errorf("version %s does not begin with that of its base, %s", d.Version, d.Base)
	}
	if len(d.Files) == 0 || !strings.HasSuffix(d.Files[0].Name, ".dsc") {
		return fmt.Errorf("its first file is no .dsc")
	}
	for i, f := range d.Files {
		if !ValidFileName(f.Name) {
			return fmt.Errorf("file %.120q", f.Name)
		}
		if i > 1 && f.Name <= d.Files[i-1].Name {
			return fmt.Errorf("file %s stands twice, or not in the order of names", f.Name)
		}
	}
	for _, arch := range []string{d.BuildArch, d.HostArch} {
		if !deb.ValidArchitecture(arch) {
			return fmt.Errorf("architecture %.40q", arch)
		}
	}
	if d.What != Any && d.What != All && d.What != AnyAndAll {
		return fmt.Errorf("%.40q is built; it is any, all or any+all", d.What)
	}
	for key, list := range sections(d) {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			return fmt.Errorf("the lines %s are not sorted, or one stands twice", key)
		}
	}
	return nil
}

// ValidFileName tells whether a name is one of a file of a source package or of a build: of no directory, and no hidden one.
func ValidFileName(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("+-.~_:%", rune(c)) {
			return false
		}
	}
	return true
}

// Difference is a line that one of two texts has and the other has not, with - or + in front; the line of the environment is the last.
func Difference(old, now []byte) []string {
	was, is := lines(old), lines(now)
	var out []string
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "-"+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "+"+l)
		}
	}
	if len(out) == 0 && !bytes.Equal(old, now) { // patches in another order
		for i := range min(len(was), len(is)) {
			if was[i] != is[i] {
				out = append(out, "-"+was[i], "+"+is[i])
			}
		}
	}
	return out
}

func lines(text []byte) []string {
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
