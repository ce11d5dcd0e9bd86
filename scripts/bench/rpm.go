package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// rpm pushes an RPM repository of 20,000 packages from a web server into a layout, against who holds one today: dnf reposync with
// its metadata, and createrepo_c over what came, without the databases that no dnf reads any more.
//
// The packages are one that rpmbuild made, of 27 files, 5 dependencies and a changelog, under 20,000 names: so the metadata, which
// createrepo_c makes of them, has 1.9 kB of primary.xml a package, as large as those of distributions, and every RPM is one that
// createrepo_c and dnf read. Both sides ask the same server for the same files, and start with nothing.
func (b *bench) rpm(ctx context.Context) error {
	top, err := fresh(filepath.Join(b.disk, "rpm"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	count := b.size(20_000)
	up := filepath.Join(top, "up")
	if err := manyRPMs(ctx, top, up, count); err != nil {
		return err
	}
	server, err := nginx(filepath.Join(top, "nginx"), up)
	if err != nil {
		return err
	}
	defer server.stop()
	for _, dir := range []string{"root/var/lib/rpm", "repos", "logs", "none"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"dnf.conf":         "",
		"repos/bench.repo": "[bench]\nname=bench\nbaseurl=" + server.url + "/\nenabled=1\ngpgcheck=0\n",
		"mmoci.yaml":       "archives:\n- {prefix: bench, format: rpm, url: \"" + server.url + "\"}\n",
	} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	ours := command{dir: top, env: []string{"XDG_STATE_HOME=" + filepath.Join(top, "state")}, args: []string{b.mmoci, "push", "-q", "--insecure-unsigned", "oci:layout:bench"}}
	sync := []string{"dnf", "-y", "--quiet", "--config", "dnf.conf", "--installroot", filepath.Join(top, "root"), "--releasever", "1"}
	for option, dir := range map[string]string{"reposdir": "repos", "cachedir": "cache", "persistdir": "persist", "logdir": "logs", "varsdir": "none"} {
		sync = append(sync, "--setopt="+option+"="+filepath.Join(top, dir))
	}
	peers := []command{
		{dir: top, args: append(sync, "reposync", "--download-metadata", "-p", filepath.Join(top, "copy"))},
		{dir: top, args: []string{"createrepo_c", "--quiet", "--no-database", filepath.Join(top, "copy/bench")}},
	}
	name := fmt.Sprintf("push of %d RPMs with their metadata", count)
	const with = "dnf reposync --download-metadata, createrepo_c --no-database"
	wall := b.table.figure(figure{name: name, unit: seconds, bar: 0.3, with: with})
	cpu := b.table.figure(figure{name: name + ", processor time", unit: seconds, with: with})
	peak := b.table.figure(figure{name: name + ", peak", unit: mebi, most: 128})
	run := func(dirs []string, cs ...command) (cost, error) {
		for _, dir := range dirs {
			if err := os.RemoveAll(filepath.Join(top, dir)); err != nil {
				return cost{}, err
			}
		}
		syscall.Sync() // what was written before is not this one's
		return runAll(ctx, cs...)
	}
	var us, them cost
	for i := range min(b.pairs, 3) {
		sides := []func() error{
			func() (err error) { us, err = run([]string{"layout", "state"}, ours); return err },
			func() (err error) { them, err = run([]string{"copy", "cache", "persist"}, peers...); return err },
		}
		for j := range sides {
			if err := sides[(i+j)%2](); err != nil {
				return err
			}
		}
		wall.pair(inSeconds(us.wall), inSeconds(them.wall))
		cpu.pair(inSeconds(us.cpu), inSeconds(them.cpu))
		peak.alone(inMebi(us.peak))
	}
	return nil
}

// manyRPMs makes a repository of one package under count names, p00000 and on.
func manyRPMs(ctx context.Context, work, dir string, count int) error {
	const spec = `Name: bench-p00000
Version: 1.0
Release: 1
Summary: A package of the benchmark, as large in the metadata as those of distributions
License: MIT
URL: https://www.example.org/bench/p00000
BuildArch: noarch
Requires: bench-p00000-common >= 1.0, libc.so.6(GLIBC_2.34)(64bit), libm.so.6()(64bit), libcrypto.so.3()(64bit), config(bench-p00000)
Provides: bench(p00000) = 1.0, config(bench-p00000) = 1.0-1, libbench-p00000.so.1()(64bit)
%description
A text of some lines, which says what the package is for, how it is used and
by whom it was written. Packages of distributions have about as much, and
primary.xml has it all: it is read for each package, and most readers pass
over it.
%install
mkdir -p %{buildroot}/usr/share/bench-p00000 %{buildroot}/usr/bin %{buildroot}/etc/bench-p00000
for i in $(seq 25); do echo "file $i of p00000" >%{buildroot}/usr/share/bench-p00000/file-$i.txt; done
echo p00000 >%{buildroot}/usr/bin/bench-p00000
echo p00000 >%{buildroot}/etc/bench-p00000/config
head -c 4000 /dev/urandom >%{buildroot}/usr/share/bench-p00000/data
%files
/usr/share/bench-p00000
/usr/bin/bench-p00000
/etc/bench-p00000
%changelog
* Mon Mar 02 2026 A Packager <packager@example.org> - 1.0-1
- A change that is told in a line
`
	if err := os.WriteFile(filepath.Join(work, "one.spec"), []byte(spec), 0o644); err != nil {
		return err
	}
	build := command{dir: work, args: []string{"rpmbuild", "-bb", "--quiet", "--define", "_topdir " + filepath.Join(work, "build"), "--define", "_rpmdir " + work,
		"--define", "_rpmfilename one.rpm", "--define", "_buildhost bench.example.org", "--define", "_dbpath " + filepath.Join(work, "db"), "one.spec"}}
	if _, _, err := build.run(ctx); err != nil {
		return err
	}
	one, err := os.ReadFile(filepath.Join(work, "one.rpm"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "Packages"), 0o755); err != nil {
		return err
	}
	for i := range count {
		name := fmt.Sprintf("p%05d", i)
		file := filepath.Join(dir, "Packages", "bench-"+name+"-1.0-1.noarch.rpm")
		if err := os.WriteFile(file, bytes.ReplaceAll(one, []byte("p00000"), []byte(name)), 0o644); err != nil {
			return err
		}
	}
	_, _, err = command{args: []string{"createrepo_c", "--quiet", "--no-database", dir}}.run(ctx)
	return err
}
