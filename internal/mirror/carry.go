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

// FindCarried finds what "carry:" asks for: in dirs a file mmoci-ARCH, else
// self if it is of that architecture; and bootstrap.sh, which is part of this
// program. A program must be static: the hosts that it is for may have no libc.
func FindCarried(archs, dirs []string, self string) ([]config.Carried, error) {
	if len(archs) == 0 {
		return nil, nil
	}
	script := snapshot.BlobOf(scripts.Bootstrap())
	out := []config.Carried{{Name: snapshot.Bootstrap, Digest: script.Digest.String(), Size: script.Size}}
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(archs))) {
		if !slices.Contains(snapshot.CarriedArchitectures(), arch) {
			return nil, fmt.Errorf("%w: carry: no architecture %q; there are %s", ErrUsage, arch, strings.Join(snapshot.CarriedArchitectures(), ", "))
		}
		c, err := findProgram(arch, dirs, self)
		if err != nil {
			return nil, fmt.Errorf("%w: carry: %w", ErrUsage, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func findProgram(arch string, dirs []string, self string) (config.Carried, error) {
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
func readProgram(arch, name string) (config.Carried, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return config.Carried{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return config.Carried{}, fmt.Errorf("%s is no program: %w", name, err)
	}
	if want := machine(arch); f.Machine != want {
		return config.Carried{}, fmt.Errorf("%s is for %v, not for %s", name, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return config.Carried{}, fmt.Errorf("%s is not static (CGO_ENABLED=0 makes it so)", name)
		}
	}
	if len(data) > maxProgram {
		return config.Carried{}, fmt.Errorf("%s: %d bytes, more than %d", name, len(data), maxProgram)
	}
	b := snapshot.BlobOf(data)
	return config.Carried{Name: arch, File: name, Digest: b.Digest.String(), Size: b.Size}, nil
}

// carry adds what is carried for hosts that have nothing.
func (b *builder) carry() error {
	for _, c := range b.f.Plan.Carried {
		d, err := snapshot.ParseDigest(c.Digest)
		if err != nil {
			return err
		}
		row := snapshot.Row{Path: snapshot.CarriedDir + c.Name, Size: c.Size, Digest: d}
		b.rows = append(b.rows, row)
		if c.File == "" {
			b.small = append(b.small, scripts.Bootstrap())
			continue
		}
		b.origins.add(d, origin{row.Path, func(context.Context) (io.ReadCloser, error) { return os.Open(c.File) }})
	}
	return nil
}

// carries reports what is carried: programs, for which only the statement
// vouches. Where it is not believed they are nobody's.
func (v *verifier) carries() {
	r := ArchiveReport{Prefix: strings.TrimSuffix(snapshot.CarriedDir, "/"), Mode: "carried", Class: string(snapshot.Site), State: SiteOwn}
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
