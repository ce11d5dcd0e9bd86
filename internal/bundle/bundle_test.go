package bundle_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/bundle"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
	"example.org/mmoci/scripts"
)

// program is the least of an ELF program: a header and one program header.
func program(t testing.TB, m elf.Machine, kind elf.ProgType) []byte {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	for _, part := range []any{h, elf.Prog64{Type: uint32(kind)}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"mmoci-amd64":   program(t, elf.EM_X86_64, elf.PT_LOAD),
		"mmoci-arm64":   program(t, elf.EM_X86_64, elf.PT_LOAD),
		"mmoci-riscv64": program(t, elf.EM_RISCV, elf.PT_INTERP),
		"mmoci-ppc64el": []byte("#!/bin/sh\n"),
		"self":          program(t, elf.EM_S390, elf.PT_LOAD),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(dir, "self")
	got, err := bundle.Find([]string{"s390x", "amd64", "amd64"}, []string{filepath.Join(dir, "nowhere"), dir}, self)
	if err != nil || len(got) != 3 || got[0].Name != snapshot.Bootstrap || got[1].File != filepath.Join(dir, "mmoci-amd64") || got[2].File != self {
		t.Errorf("%+v, %v", got, err)
	}
	for arch, says := range map[string]string{
		"arm64": "EM_X86_64", "riscv64": "not static", "ppc64el": "no program", "armhf": "no mmoci-armhf", "sparc": "no architecture",
	} {
		if _, err := bundle.Find([]string{arch}, []string{dir}, self); !errors.Is(err, outcome.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", arch, err)
		}
	}
}

// TestProgram: a program tells its architecture itself, also where it will not do.
func TestProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		data []byte
		arch string
		says string
	}{
		"static":  {program(t, elf.EM_S390, elf.PT_LOAD), "s390x", ""},
		"dynamic": {program(t, elf.EM_AARCH64, elf.PT_INTERP), "arm64", "not static"},
		"strange": {program(t, elf.EM_SPARCV9, elf.PT_LOAD), "", "not built for"},
		"script":  {[]byte("#!/bin/sh\n"), "", "no program"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, c.data, 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := bundle.Program(file)
		if got.Name != c.arch || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if c.says == "" && (got.File != file || got.Digest != snapshot.Sum(c.data).String()) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := bundle.Program(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestCarry: what is carried is bound by the statement, named by verify, and
// nobody's where the statement is not believed.
func TestCarry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testarchive.Docker().Build(t).Write(t, filepath.Join(dir, "docker"))
	bin := program(t, elf.EM_X86_64, elf.PT_LOAD)
	for name, data := range map[string][]byte{"mmoci-amd64": bin, "docker.asc": testarchive.DockerKey().Public()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plan := &config.Plan{Archives: []config.Archive{{
		Prefix: "docker", URLs: []string{filepath.Join(dir, "docker")}, Suites: []string{"bookworm"}, Components: []string{"stable"},
		Architectures: []string{"amd64"}, SignedBy: filepath.Join(dir, "docker.asc"), All: true,
	}}}
	var err error
	if plan.Bundled, err = bundle.Find([]string{"amd64"}, []string{dir}, ""); err != nil {
		t.Fatal(err)
	}
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: world.SignerOf(t, testarchive.SiteKey()), Date: world.Date, Now: world.Now})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference("oci:" + filepath.Join(dir, "layout") + ":x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Push(t.Context(), ref, frozen.Snapshot, artifact.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	docker := world.Ring(t, testarchive.DockerKey())
	for _, c := range []struct {
		trust prove.Trust
		state prove.State
	}{{world.SiteTrust(t), prove.SiteOwn}, {prove.Trust{Upstream: map[string]*pgp.Keyring{"docker": docker}, Now: world.Now}, prove.NotProved}} {
		s, err := prove.Open(t.Context(), ref, c.trust, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: c.trust, Hash: true, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		last := r.Archives[len(r.Archives)-1]
		if last.Prefix != "mmoci" || last.State != c.state || last.Packages != 2 {
			t.Errorf("%+v", last)
		}
		for name, want := range map[string][]byte{"amd64": bin, snapshot.Bootstrap: scripts.Bootstrap([]string{"amd64:" + snapshot.Sum(bin).Hex()})} {
			if got := contentOf(t, s, snapshot.CarriedDir+name); !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, want %d", name, len(got), len(want))
			}
		}
	}
}

func contentOf(t *testing.T, s *snapshot.Snapshot, path string) []byte {
	t.Helper()
	f, err := s.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
