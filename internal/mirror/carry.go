package mirror

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/scripts"
)

// maxProgram bounds a program that is carried.
const maxProgram = 256 << 20

// machine is the ELF machine of an architecture by Debian's name.
func machine(arch string) elf.Machine {
	return map[string]elf.Machine{
		"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "armhf": elf.EM_ARM, "i386": elf.EM_386,
		"loong64": elf.EM_LOONGARCH, "ppc64el": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
	}[arch]
}

// FindBundled finds what "bundle:" asks for: in dirs a file mmoci-ARCH, else
// self if it is of that architecture; and bootstrap.sh, which is part of this
// program. A program must be static: the hosts that it is for may have no libc.
func FindBundled(archs, dirs []string, self string) ([]config.Bundled, error) {
	if len(archs) == 0 {
		return nil, nil
	}
	var out []config.Bundled
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(archs))) {
		if !slices.Contains(snapshot.CarriedArchitectures(), arch) {
			return nil, fmt.Errorf("%w: bundle: no architecture %q; there are %s", ErrUsage, arch, strings.Join(snapshot.CarriedArchitectures(), ", "))
		}
		c, err := findProgram(arch, dirs, self)
		if err != nil {
			return nil, fmt.Errorf("%w: bundle: %w", ErrUsage, err)
		}
		out = append(out, c)
	}
	script := snapshot.BlobOf(bootstrap(out))
	return append([]config.Bundled{{Name: snapshot.Bootstrap, Digest: script.Digest.String(), Size: script.Size}}, out...), nil
}

// bootstrap is the script that is carried with programs. It knows their digests,
// so that who vouches for the script, by a digest that somebody typed, vouches for them.
func bootstrap(programs []config.Bundled) []byte {
	var known []string
	for _, c := range programs {
		if c.File != "" {
			known = append(known, c.Name+":"+strings.TrimPrefix(c.Digest, "sha256:"))
		}
	}
	return scripts.Bootstrap(known)
}

func findProgram(arch string, dirs []string, self string) (config.Bundled, error) {
	for _, dir := range dirs {
		name := filepath.Join(dir, "mmoci-"+arch)
		if c, err := readProgram(arch, name); !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	c, err := readProgram(arch, self)
	if err != nil {
		return c, fmt.Errorf("no mmoci-%s in %s (make release builds it), and this program will not do: %w", arch, strings.Join(dirs, ", "), err)
	}
	return c, nil
}

// readProgram hashes a program after a look at what it is.
func readProgram(arch, name string) (config.Bundled, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return config.Bundled{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return config.Bundled{}, fmt.Errorf("%s is no program: %w", name, err)
	}
	if want := machine(arch); f.Machine != want {
		return config.Bundled{}, fmt.Errorf("%s is for %v, not for %s", name, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return config.Bundled{}, fmt.Errorf("%s is not static (CGO_ENABLED=0 makes it so)", name)
		}
	}
	if len(data) > maxProgram {
		return config.Bundled{}, fmt.Errorf("%s: %d bytes, more than %d", name, len(data), maxProgram)
	}
	b := snapshot.BlobOf(data)
	return config.Bundled{Name: arch, File: name, Digest: b.Digest.String(), Size: b.Size}, nil
}

// carry adds what is carried for hosts that have nothing.
func (b *builder) carry() error {
	for _, c := range b.f.Plan.Bundled {
		d, err := snapshot.ParseDigest(c.Digest)
		if err != nil {
			return err
		}
		row := snapshot.Row{Path: snapshot.CarriedDir + c.Name, Size: c.Size, Digest: d}
		b.rows = append(b.rows, row)
		if c.File == "" {
			b.small = append(b.small, bootstrap(b.f.Plan.Bundled))
			continue
		}
		b.origins.add(d, origin{row.Path, func(context.Context) (io.ReadCloser, error) { return os.Open(c.File) }})
	}
	return nil
}

// Carrying is what a snapshot carries for hosts that have nothing, and whether it may run there.
type Carrying struct {
	Files  int             // that it carries
	Root   snapshot.Digest // of the snapshot, if its statement is believed: see [artifact.Options.Vouched]
	Reason error           // why it is not
}

// Carries looks at the snapshot at ref, and at what it carries. Nothing but its
// statement vouches for that, so trust must believe the statement itself: an
// upstream's key is not enough.
func Carries(ctx context.Context, ref artifact.Reference, t Trust, o artifact.Options) (Carrying, error) {
	sealed, err := artifact.Open(ctx, ref, o)
	if err != nil {
		return Carrying{}, err
	}
	looked, err := sealed.Unseal(nil)
	if err != nil {
		return Carrying{}, fmt.Errorf("%s: %w", ref, err)
	}
	var c Carrying
	for range looked.Table.Under(snapshot.CarriedDir) {
		c.Files++
	}
	s, err := t.Believe(ref, sealed)
	switch {
	case err != nil:
		c.Reason = err
	case !t.believed(s):
		c.Reason = fmt.Errorf("%s: nothing to verify its statement by", ref)
	default:
		c.Root = sealed.Root
	}
	return c, nil
}

// carries reports what is carried: programs, for which only the statement
// vouches. Where it is not believed they are nobody's.
func (v *verifier) carries() {
	r := ArchiveReport{Prefix: strings.TrimSuffix(snapshot.CarriedDir, "/"), Mode: "bundled", Class: string(snapshot.Site), State: SiteOwn}
	if !v.Trust.believed(v.Snapshot) {
		r.State, r.Reason = NotProved, "programs that the site vouches for, and the statement is not verified: do not run them"
	}
	for row := range v.Snapshot.Table.Under(snapshot.CarriedDir) {
		v.want[row.Path] = &wanted{Blob: row.Blob()}
		r.Packages++
	}
	if r.Packages > 0 {
		v.report.Archives = append(v.report.Archives, r)
	}
}
