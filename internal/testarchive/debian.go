package testarchive

import "time"

// Debian is a small archive with what docker needs, and more: suites bookworm
// and bookworm-updates, loops (libc6 and libgcc-s1), Provides, alternatives,
// versions with epoch, + and ~. It lists and has what Debian's own suites list and have (AsDebian).
// Two of its packages need what is not there: broken-depends, and git by its first alternative only.
func Debian() Archive {
	suite := func(dir, suite, version string, date time.Time, ps []Package) Suite {
		return Suite{
			Dir: dir, Suite: suite, Codename: dir, Origin: "Debian", Label: "Debian", Version: version, Date: date,
			Components: []string{"main", "contrib"}, Packages: ps, Translations: true, Contents: true,
			ByHash: true, AsDebian: true,
		}
	}
	return Archive{
		Keys: []*Key{DebianKey(), NewKey("Debian Stable test key")},
		Suites: []Suite{
			suite("bookworm", "oldstable", "12.12", time.Date(2026, 1, 10, 10, 11, 12, 0, time.UTC), bookworm()),
			suite("bookworm-updates", "oldstable-updates", "12-updates", time.Date(2026, 1, 12, 2, 15, 0, 0, time.UTC), bookwormUpdates()),
		},
	}
}

// Security is a small archive like Debian's security one: components are named
// updates/main but lie under main, Date + 7 days is Valid-Until, no "all".
func Security() Archive {
	date := time.Date(2026, 1, 12, 6, 0, 0, 0, time.UTC)
	return Archive{
		Keys: []*Key{DebianKey()},
		Suites: []Suite{{
			Dir: "bookworm-security", Suite: "oldstable-security", Codename: "bookworm-security",
			Origin: "Debian", Label: "Debian-Security", Version: "12",
			Date: date, ValidUntil: date.AddDate(0, 0, 7), ComponentPrefix: "updates/", ByHash: true,
			Packages: []Package{
				lib("libsystemd0", "252.39-1~deb12u2", "systemd", "libc6 (>= 2.34), libcap2 (>= 1:2.10), liblzma5"),
				simple("ca-certificates", "20230311+deb12u2", "all", "openssl (>= 1.1.1), debconf (>= 0.5) | debconf-2.0"),
			},
		}},
	}
}

// DockerClosure is what apt 2.6.1 chose for docker-ce from Docker(), Debian()
// and Security() with an empty dpkg status, without Recommends: NAME=VERSION, sorted.
func DockerClosure() []string {
	return []string{
		"containerd.io=1.7.29-1~debian.12~bookworm",
		"docker-ce-cli=5:28.5.2-1~debian.12~bookworm",
		"docker-ce=5:28.5.2-1~debian.12~bookworm",
		"gcc-12-base=12.2.0-14+deb12u1",
		"iptables=1.8.9-2",
		"libc6=2.36-9+deb12u13",
		"libcap2=1:2.66-4+deb12u2",
		"libcrypt1=1:4.4.33-2",
		"libgcc-s1=12.2.0-14+deb12u1",
		"libip4tc2=1.8.9-2",
		"liblzma5=5.4.1-1",
		"libmnl0=1.0.4-3",
		"libnftnl11=1.2.4-2",
		"libseccomp2=2.5.4-1+deb12u2",
		"libsystemd0=252.39-1~deb12u2",
		"libxtables12=1.8.9-2",
		"netbase=6.4",
	}
}

// simple is a package with Depends.
func simple(name, version, arch, depends string, more ...[2]string) Package {
	p := Package{Name: name, Version: version, Architecture: arch}
	if depends != "" {
		p.Fields = append(p.Fields, [2]string{"Depends", depends})
	}
	p.Fields = append(p.Fields, more...)
	return p
}

// lib is a shared library, Multi-Arch: same, of another source.
func lib(name, version, source, depends string, more ...[2]string) Package {
	more = append(more, [2]string{"Multi-Arch", "same"}, [2]string{"Section", "libs"})
	p := simple(name, version, "amd64", depends, more...)
	p.Source = source
	return p
}

func bookworm() []Package {
	essential := [2]string{"Essential", "yes"}
	foreign := [2]string{"Multi-Arch", "foreign"}
	return []Package{
		// libc6 and libgcc-s1 need each other; gcc-12-base ends it.
		lib("libc6", "2.36-9+deb12u13", "glibc", "libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)",
			[2]string{"Recommends", "libidn2-0 (>= 2.0.5~)"},
			[2]string{"Breaks", "busybox (<< 1.30.1-6), locales (<< 2.36)"},
			[2]string{"Replaces", "libc6-amd64"}),
		lib("libgcc-s1", "12.2.0-14+deb12u1", "gcc-12", "gcc-12-base (= 12.2.0-14+deb12u1), libc6 (>= 2.35)",
			[2]string{"Provides", "libgcc1 (= 1:12.2.0-14+deb12u1)"}),
		lib("gcc-12-base", "12.2.0-14+deb12u1", "gcc-12", ""),
		lib("libcrypt1", "1:4.4.33-2", "libxcrypt", "libc6 (>= 2.36)"),
		// Source with a version of its own.
		lib("libsystemd0", "252.39-1~deb12u1", "systemd (252.39-1~deb12u1)", "libc6 (>= 2.34), libcap2 (>= 1:2.10), liblzma5 (>= 5.1.1alpha+20120614)"),
		lib("libcap2", "1:2.66-4+deb12u2", "libcap2", "libc6 (>= 2.34)"),
		lib("liblzma5", "5.4.1-1", "xz-utils", "libc6 (>= 2.34)"),
		lib("libseccomp2", "2.5.4-1+deb12u1", "libseccomp", "libc6 (>= 2.34)"),
		lib("libssl3", "3.0.17-1~deb12u3", "openssl", "libc6 (>= 2.34)"),
		lib("zlib1g", "1:1.2.13.dfsg-1", "zlib", "libc6 (>= 2.14)"),
		lib("libmnl0", "1.0.4-3", "libmnl", "libc6 (>= 2.14)"),
		lib("libnftnl11", "1.2.4-2", "libnftnl", "libc6 (>= 2.28), libmnl0 (>= 1.0.3-4~)"),
		lib("libip4tc2", "1.8.9-2", "iptables", "libc6 (>= 2.14)"),
		lib("libxtables12", "1.8.9-2", "iptables", "libc6 (>= 2.34)"),
		lib("libpcre2-8-0", "10.42-1", "pcre2", "libc6 (>= 2.34)"),
		lib("libtinfo6", "6.4-4", "ncurses", "libc6 (>= 2.33)"),
		simple("iptables", "1.8.9-2", "amd64",
			"libip4tc2 (= 1.8.9-2), libxtables12 (= 1.8.9-2), libc6 (>= 2.34), libmnl0 (>= 1.0.3-4~), libnftnl11 (>= 1.1.6), netbase",
			foreign, [2]string{"Recommends", "nftables"}, [2]string{"Section", "net"}),
		simple("nftables", "1.0.6-2+deb12u2", "amd64", "libc6 (>= 2.34), libnftnl11"),
		simple("netbase", "6.4", "all", "", foreign),
		simple("xz-utils", "5.4.1-1", "amd64", "libc6 (>= 2.34), liblzma5 (>= 5.4.0)", foreign),
		simple("ca-certificates", "20230311+deb12u1", "all", "openssl (>= 1.1.1), debconf (>= 0.5) | debconf-2.0", foreign),
		simple("openssl", "3.0.17-1~deb12u3", "amd64", "libc6 (>= 2.34), libssl3 (>= 3.0.9)"),
		// An unversioned Provides beside a versioned one; debconf-2.0 is virtual.
		simple("debconf", "1.5.82", "all", "", [2]string{"Provides", "debconf-2.0"}, [2]string{"Conflicts", "cdebconf (<< 0.96)"}),
		simple("cdebconf", "0.270", "amd64", "libc6 (>= 2.34)", [2]string{"Provides", "debconf-2.0"}),
		// Pre-Depends and Essential.
		simple("dpkg", "1.21.22", "amd64", "tar (>= 1.28-1)", essential,
			[2]string{"Pre-Depends", "libc6 (>= 2.34), liblzma5 (>= 5.4.0), zlib1g (>= 1:1.1.4)"}),
		simple("tar", "1.34+dfsg-1.2+deb12u1", "amd64", "", essential, [2]string{"Pre-Depends", "libc6 (>= 2.34)"}),
		simple("base-files", "12.4+deb12u12", "amd64", "awk", essential, [2]string{"Pre-Depends", "awk"}),
		simple("mawk", "1.3.4.20200120-3.1", "amd64", "libc6 (>= 2.34)", [2]string{"Provides", "awk"}),
		simple("gawk", "1:5.2.1-2", "amd64", "libc6 (>= 2.34)", [2]string{"Provides", "awk"}),
		// The first alternative does not exist.
		simple("git", "1:2.39.5-0+deb12u2", "amd64", "git-man-missing (>= 1) | git-man (>> 1:2.39.5), libc6 (>= 2.34), libpcre2-8-0 (>= 10.34), perl:any"),
		withSource(simple("git-man", "1:2.39.5-0+deb12u2", "all", ""), "git"),
		simple("perl", "5.36.0-7+deb12u3", "amd64", "perl-base (= 5.36.0-7+deb12u3)",
			[2]string{"Multi-Arch", "allowed"}, [2]string{"Provides", "libperl5.36 (= 5.36.0-7+deb12u3), perl5"}),
		withSource(simple("perl-base", "5.36.0-7+deb12u3", "amd64", "", essential, [2]string{"Pre-Depends", "libc6 (>= 2.35)"}), "perl"),
		// Needs a versioned Provides of perl's.
		simple("libwant-perl", "0.5-1", "all", "libperl5.36 (>= 5.36.0)"),
		// A pair that excludes each other.
		simple("exim4", "4.96-15+deb12u7", "amd64", "libc6 (>= 2.34)", [2]string{"Provides", "mail-transport-agent"}, [2]string{"Conflicts", "mail-transport-agent"}),
		simple("postfix", "3.7.11-0+deb12u1", "amd64", "libc6 (>= 2.34)", [2]string{"Provides", "mail-transport-agent"}, [2]string{"Conflicts", "mail-transport-agent"}),
		simple("mailer", "1.0", "all", "exim4 | mail-transport-agent"),
		simple("docker.io", "20.10.24+dfsg1-1+deb12u1+b2", "amd64", "containerd (>= 1.4~), runc (>= 1.0.0~rc8~), iptables, libc6 (>= 2.34), libsystemd0 (>= 209~)",
			[2]string{"Recommends", "ca-certificates, git, xz-utils"}),
		simple("containerd", "1.6.20~ds1-1+deb12u1", "amd64", "runc (>= 1.0.0~rc2~), libc6 (>= 2.34)"),
		simple("runc", "1.1.5+ds1-1+deb12u1", "amd64", "libc6 (>= 2.34), libseccomp2 (>= 2.5.0)"),
		// Cannot be installed: nothing has it.
		simple("broken-depends", "1.0", "all", "nowhere (>= 2)"),
		// Longer than one tar block, gz and no compression.
		{Name: "bash", Version: "5.2.15-2+b8", Architecture: "amd64", Compression: "gz", Size: 1500,
			Fields: [][2]string{{"Pre-Depends", "libc6 (>= 2.36), libtinfo6 (>= 6)"}, essential}},
		{Name: "tzdata", Version: "2025b-0+deb12u1", Architecture: "all", Compression: "none", Fields: [][2]string{
			{"Depends", "debconf (>= 0.5) | debconf-2.0"}}},
		{Name: "zstd-packed", Version: "1.0~rc1+b1", Architecture: "amd64", Compression: "zst"},
		inContrib(simple("iucode-tool", "2.3.1-3", "amd64", "libc6 (>= 2.33)")),
	}
}

func bookwormUpdates() []Package {
	return []Package{
		simple("tzdata", "2025c-0+deb12u1", "all", "debconf (>= 0.5) | debconf-2.0"),
		lib("libseccomp2", "2.5.4-1+deb12u2", "libseccomp", "libc6 (>= 2.34)"),
	}
}

func withSource(p Package, source string) Package {
	p.Source = source
	return p
}

func inContrib(p Package) Package {
	p.Component = "contrib"
	return p
}
