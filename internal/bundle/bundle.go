// Package bundle finds the programs that a snapshot carries for hosts that have
// nothing: static builds of mmoci by architecture, and the script that fetches one.
package bundle

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/scripts"
)

// maxProgram bounds a bundled program, in bytes.
const maxProgram = 256 << 20

// machine is the ELF machine of an architecture by Debian's name.
func machine(arch string) elf.Machine { return machines()[arch] }

func machines() map[string]elf.Machine {
	return map[string]elf.Machine{
		"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "armhf": elf.EM_ARM, "i386": elf.EM_386,
		"loong64": elf.EM_LOONGARCH, "ppc64el": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
	}
}

// Find finds the programs for archs: a file mmoci-ARCH in dirs, else self if it
// is of that architecture. The script comes first. A program must be static: the
// hosts that it is for may have no libc.
func Find(archs, dirs []string, self string) ([]config.Bundled, error) {
	if len(archs) == 0 {
		return nil, nil
	}
	var out []config.Bundled
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(archs))) {
		if !slices.Contains(snapshot.CarriedArchitectures(), arch) {
			return nil, fmt.Errorf("%w: bundle: no architecture %q; there are %s", outcome.ErrUsage, arch, strings.Join(snapshot.CarriedArchitectures(), ", "))
		}
		c, err := findProgram(arch, dirs, self)
		if err != nil {
			return nil, fmt.Errorf("%w: bundle: %w", outcome.ErrUsage, err)
		}
		out = append(out, c)
	}
	script := snapshot.BlobOf(Script(out))
	return append([]config.Bundled{{Name: snapshot.Bootstrap, Digest: script.Digest.String(), Size: script.Size}}, out...), nil
}

// Program is a static program of whatever architecture, under the name of
// that. The name is known even where the error is that the program will not do.
func Program(file string) (config.Bundled, error) {
	f, err := elf.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return config.Bundled{}, err
	case err != nil:
		return config.Bundled{}, fmt.Errorf("%s is no program: %w", file, err)
	}
	is := f.Machine
	f.Close()
	for arch, m := range machines() {
		if m == is {
			b, err := readProgram(arch, file)
			b.Name = arch
			return b, err
		}
	}
	return config.Bundled{}, fmt.Errorf("%s is for %v, which mmoci is not built for", file, is)
}

// Script is the script that fetches one of the programs. It contains their
// digests, so whoever trusts the script by its digest can trust them.
func Script(programs []config.Bundled) []byte {
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

// readProgram hashes a program and checks its machine and that it is static.
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
