package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
)

// sourceRows measures what a patched nginx is called, out of a snapshot that has all packages and sources of a release, and whether a
// registry has it.
func (b *bench) sourceRows(ctx context.Context) error {
	if b.sources == "" {
		return fmt.Errorf("needs real sources (-sources)")
	}
	top, err := fresh(filepath.Join(b.tmp, "sources"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	release := filepath.Join(top, "release")
	if _, err := runAll(ctx, command{args: []string{b.self, "release", b.sources, release}}); err != nil {
		return err
	}
	if err := b.site(top, release, "oci:layout:bench", "all"); err != nil {
		return err
	}
	if err := edit(filepath.Join(top, "mmoci.yaml"), "trust: [keys/site.pub.asc]", "trust: {keys: [keys/site.pub.asc], builders: [keys/site.pub.asc]}", "  packages: all", "  packages: all\n  with-sources: yes"); err != nil {
		return err
	}
	pkg := filepath.Join(top, "pkg")
	for name, text := range map[string]string{"pkg.yaml": "base: nginx\nsuffix: +p1\npatches: {a.patch: why}\n", "a.patch": "--- /dev/null\n+++ b/more\n@@ -0,0 +1 @@\n+more\n"} {
		if err := os.MkdirAll(pkg, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(pkg, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	env := []string{"XDG_STATE_HOME=" + filepath.Join(top, "state"), "TMPDIR=" + top}
	ours := func(args ...string) command {
		return command{dir: top, env: env, args: append([]string{b.mmoci}, args...)}
	}
	if _, err := runAll(ctx, ours("push", "-q")); err != nil {
		return err
	}
	apt, err := b.aptOf(ctx, filepath.Join(top, "apt"), release)
	if err != nil {
		return err
	}
	wall := b.table.figure(figure{name: "source hash of nginx, a release of " + fmt.Sprint(countOf(release)) + " packages", unit: millis, bar: 0.4, with: "apt-get -s build-dep without its caches"})
	cpu := b.table.figure(figure{name: "source hash: processor time", unit: millis, with: "apt-get"})
	peak := b.table.figure(figure{name: "source hash: peak memory", unit: mebi, with: "apt-get"})
	var hashed, asked []cost
	err = b.inTurn(func(int) error {
		took, _, err := ours("source", "hash", "pkg").run(ctx)
		hashed = append(hashed, took)
		return err
	}, func(int) error {
		took, _, err := apt.run(ctx)
		asked = append(asked, took)
		return err
	})
	if err != nil {
		return err
	}
	for i := range hashed {
		wall.pair(inMillis(hashed[i].wall), inMillis(asked[i].wall))
		cpu.pair(inMillis(hashed[i].cpu), inMillis(asked[i].cpu))
		peak.pair(inMebi(hashed[i].peak), inMebi(asked[i].peak))
	}
	return b.found(ctx, top, ours)
}

// found measures the question for an identity, whole process, at a registry that has it and at one that has not.
func (b *bench) found(ctx context.Context, top string, ours func(...string) command) error {
	r, err := distribution(filepath.Join(top, "registry"))
	if err != nil {
		return err
	}
	defer r.stop()
	place := r.host() + "/site/builds"
	if _, err := runAll(ctx, ours("source", "build", "pkg", "-q", "--to", place, "--sign-key", "keys/site.asc", "--builder", b.self+" fake-build", "--without-environment")); err != nil {
		return err
	}
	_, id, err := ours("source", "hash", "pkg").run(ctx)
	if err != nil {
		return err
	}
	for name, c := range map[string]command{
		"source find, a hit, whole process":  ours("source", "find", strings.TrimSpace(string(id)), place),
		"source find, a miss, whole process": {dir: top, args: []string{"sh", "-c", `"$@" 2>/dev/null || [ $? = 4 ]`, "sh", b.mmoci, "source", "find", strings.Repeat("0", 64), place}},
	} {
		row := b.table.figure(figure{name: name, unit: millis, most: 50})
		for range b.pairs {
			took, err := runAll(ctx, c)
			if err != nil {
				return err
			}
			row.alone(inMillis(took.wall))
		}
	}
	return nil
}

// edit replaces texts in a file, each of which must be there.
func edit(file string, pairs ...string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(text, []byte(pairs[i])) {
			return fmt.Errorf("%s has no %q", file, pairs[i])
		}
	}
	return os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644)
}

// countOf is the number of packages of a release.
func countOf(release string) int {
	data, err := os.ReadFile(filepath.Join(release, "dists/bookworm/main/binary-amd64/Packages"))
	if err != nil {
		return 0
	}
	return bytes.Count(data, []byte("\nPackage: ")) + 1
}

// aptOf is what apt says that building nginx needs, with the lists of a release and the status of a machine for builds.
func (b *bench) aptOf(ctx context.Context, dir, release string) (command, error) {
	for _, d := range []string{"lists/partial", "archives/partial", "parts", "sources"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return command{}, err
		}
	}
	conf := fmt.Sprintf(`Dir::State %[1]q; Dir::State::status %[2]q; Dir::Cache %[1]q; Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "%[1]s/sources"; Dir::Etc::parts "%[1]s/parts"; Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "%[1]s/parts";
Acquire::Languages "none"; Debug::NoLocking "true"; APT::Sandbox::User "root"; Acquire::GzipIndexes "false";
APT::Architecture "amd64"; #clear APT::Architectures;
APT::Architectures { "amd64"; };
`, dir, filepath.Join(release, "status"))
	line := fmt.Sprintf("deb [trusted=yes] copy:%[1]s bookworm main\ndeb-src [trusted=yes] copy:%[1]s bookworm main\n", release)
	for name, text := range map[string]string{"sources.list": line, "apt.conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return command{}, err
		}
	}
	env := []string{"APT_CONFIG=" + filepath.Join(dir, "apt.conf"), "LC_ALL=C"}
	if _, err := runAll(ctx, command{env: env, args: []string{"apt-get", "-q", "update"}}); err != nil {
		return command{}, err
	}
	return command{env: env, args: []string{"apt-get", "-s", "--no-install-recommends", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "build-dep", "nginx"}}, nil
}

// partRelease: SOURCES DIR: lays out the whole release that real-sources.sh has the lists of: each stanza as it is, but for the file that
// it names, which is a few bytes. The files of nginx are its own.
func partRelease(_ context.Context, args []string) error {
	from, to := filepath.Join(args[0], "debian"), args[1]
	packages, err := listOf(from, "binary-amd64/Packages")
	if err != nil {
		return err
	}
	sources, err := listOf(from, "source/Sources")
	if err != nil {
		return err
	}
	// The machine for builds has what real-sources.sh found that each has, of this release.
	base, err := os.ReadFile(filepath.Join(args[0], ".apt/build/base.txt"))
	if err != nil {
		return err
	}
	installed := map[string]bool{}
	for line := range strings.Lines(string(base)) {
		name, _, _ := strings.Cut(line, "=")
		installed[name] = true
	}
	var binaries, all, status bytes.Buffer
	for st, err := range deb.Stanzas(packages) {
		if err != nil {
			return err
		}
		if installed[st.Get("Package")] {
			fmt.Fprintf(&status, "Status: install ok installed\n%s\n\n", bytes.TrimSpace(st))
		}
		name := st.Get("Filename")
		data := []byte(name + "\n")
		if err := write(filepath.Join(to, name), data); err != nil {
			return err
		}
		for key, value := range st.Fields() {
			switch key {
			case "Filename", "Size", "MD5sum", "SHA256":
			default:
				fmt.Fprintf(&binaries, "%s: %s\n", key, value)
			}
		}
		fmt.Fprintf(&binaries, "Filename: %s\nSize: %d\nSHA256: %s\n\n", name, len(data), sha256Hex(data))
	}
	for st, err := range deb.Stanzas(sources) {
		if err != nil {
			return err
		}
		if st.Get("Package") == "nginx" {
			if err := ownFiles(from, to, st); err != nil {
				return err
			}
			all.Write(bytes.TrimSpace(st))
			all.WriteString("\n\n")
			continue
		}
		name := st.Get("Package") + "_" + st.Get("Version") + ".dsc"
		data := []byte(name + "\n")
		if err := write(filepath.Join(to, st.Get("Directory"), name), data); err != nil {
			return err
		}
		for key, value := range st.Fields() {
			switch key {
			case "Files", "Checksums-Sha256", "Checksums-Sha1", "Checksums-Sha512":
			default:
				fmt.Fprintf(&all, "%s: %s\n", key, value)
			}
		}
		sum := md5.Sum(data)
		fmt.Fprintf(&all, "Files:\n %s %d %s\nChecksums-Sha256:\n %s %d %s\n\n", hex.EncodeToString(sum[:]), len(data), name, sha256Hex(data), len(data), name)
	}
	if err := write(filepath.Join(to, "status"), status.Bytes()); err != nil {
		return err
	}
	return writeRelease(filepath.Join(to, "dists/bookworm"), map[string][]byte{"main/binary-amd64/Packages": binaries.Bytes(), "main/source/Sources": all.Bytes()})
}

// listOf is the index of a release.
func listOf(from, name string) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(from, "dists/bookworm/main", name+".*"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%s has no %s of bookworm", from, name)
	}
	stored, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	return archive.Decompress(found[0], stored, archive.MaxIndex)
}

func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// ownFiles copies the files of a source.
func ownFiles(from, to string, st deb.Stanza) error {
	for line := range strings.Lines(st.Get("Checksums-Sha256")) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, st.Get("Directory"), f[2]))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(to, st.Get("Directory"), f[2]), data); err != nil {
			return err
		}
	}
	return nil
}

// writeRelease writes indices, plain and by gzip, and the signed Release over them.
func writeRelease(dir string, indices map[string][]byte) error {
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: Bench\nLabel: Bench\nSuite: bookworm\nCodename: bookworm\nDate: %s\nArchitectures: amd64\nComponents: main\nDescription: a release without its files\nSHA256:\n", firstDay().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	for name, data := range indices {
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		if _, err := z.Write(data); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		for ending, data := range map[string][]byte{"": data, ".gz": zipped.Bytes()} {
			fmt.Fprintf(&release, " %s %d %s\n", sha256Hex(data), len(data), name+ending)
			if err := write(filepath.Join(dir, name+ending), data); err != nil {
				return err
			}
		}
	}
	return write(filepath.Join(dir, "InRelease"), archiveKey().Clearsign(noTest{}, release.Bytes(), firstDay()))
}

// partFakeBuild: IN OUT: a builder that makes one small package of the source.
func partFakeBuild(_ context.Context, args []string) error {
	in, out := args[0], args[1]
	text, err := os.ReadFile(filepath.Join(in, "identity"))
	if err != nil {
		return err
	}
	var source, version string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "source" {
			source, version = f[1], f[3]
		}
	}
	var control, data bytes.Buffer
	z := gzip.NewWriter(&control)
	if err := tarTo(z, "./control", fmt.Appendf(nil, "Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: small\n", source, version)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := tarTo(&data, "./usr/share/doc", []byte("small\n")); err != nil {
		return err
	}
	files := map[string][]byte{"_amd64.deb": testarchive.Ar(
		testarchive.ArMember{Name: "debian-binary", Data: []byte("2.0\n")},
		testarchive.ArMember{Name: "control.tar.gz", Data: control.Bytes()},
		testarchive.ArMember{Name: "data.tar", Data: data.Bytes()},
	), "_amd64.buildinfo": []byte("Build-Date: " + time.Now().Format(time.RFC1123Z) + "\n")}
	var changes strings.Builder
	_, _ = io.WriteString(&changes, "Source: "+source+"\nVersion: "+version+"\nChecksums-Sha256:\n")
	name := source + "_" + version
	for ending, data := range files {
		fmt.Fprintf(&changes, " %s %d %s\n", sha256Hex(data), len(data), name+ending)
		if err := os.WriteFile(filepath.Join(out, name+ending), data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(out, name+"_amd64.changes"), []byte(changes.String()), 0o644)
}
