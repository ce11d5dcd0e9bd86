package deb

import "strings"

// ValidName tells whether s may be the name of a package. The rule is dpkg's
// (pkg_name_is_illegal), which is laxer than policy: upper case and "_" pass.
func ValidName(s string) bool { return validName(s, "+-._") }

// ValidArchitecture tells whether s may be the name of an architecture, by
// dpkg's rule (dpkg_arch_name_is_illegal).
func ValidArchitecture(s string) bool { return validName(s, "-") }

// validName takes letters, digits and, but for the first byte, others.
func validName(s, others string) bool {
	for i := range len(s) {
		alphanumeric := isLetter(s[i]) || isDigit(s[i])
		if !alphanumeric && (i == 0 || strings.IndexByte(others, s[i]) < 0) {
			return false
		}
	}
	return s != ""
}

// tuple is the Debian tuple of an architecture or of an architecture wildcard,
// in which a part may be "any" (dpkg-architecture(1), dpkg's tupletable).
type tuple struct{ abi, libc, os, cpu string }

// MatchArchitecture tells whether arch is one that pattern names: itself, or a
// wildcard such as any, linux-any, any-amd64 (Debian policy 11.1).
func MatchArchitecture(pattern, arch string) bool {
	if pattern == arch || pattern == "any" {
		return true
	}
	if !strings.Contains(pattern, "any") {
		return false
	}
	p, ok := wildcardTuple(pattern)
	if !ok || arch == "" {
		return false
	}
	a := architectureTuple(arch)
	part := func(want, have string) bool { return want == "any" || want == have }
	return part(p.abi, a.abi) && part(p.libc, a.libc) && part(p.os, a.os) && part(p.cpu, a.cpu)
}

// wildcardTuple reads a wildcard, whose left parts may be left out: amd64 in
// any-amd64 is a CPU, not an architecture. It is none without a part "any".
func wildcardTuple(s string) (tuple, bool) {
	t := tuple{abi: "any", libc: "any", os: "any"}
	wild := false
	for i, dst := range []*string{&t.cpu, &t.os, &t.libc, &t.abi} {
		cut := strings.LastIndexByte(s, '-')
		*dst = s[cut+1:]
		wild = wild || *dst == "any"
		if cut < 0 {
			return t, wild
		}
		if i < 3 {
			s = s[:cut]
		}
	}
	return t, false // more than four parts
}

// architectureTuple reads a plain architecture: [[libc-]os-]cpu. Names that
// dpkg does not know come out as that scheme has it, on GNU.
func architectureTuple(s string) tuple {
	t := tuple{abi: "base", libc: "gnu", os: "linux", cpu: s}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		t.os, t.cpu = s[:i], s[i+1:]
		if libc, os, ok := strings.Cut(t.os, "-"); ok {
			t.libc, t.os = libc, os
		} else {
			t.libc = defaultLibc(t.os)
		}
	}
	switch t.cpu {
	case "armel":
		t.abi, t.cpu = "eabi", "arm"
	case "armhf":
		t.abi, t.cpu = "eabihf", "arm"
	case "arm64ilp32":
		t.abi, t.cpu = "ilp32", "arm64"
	case "mipsn32", "mipsn32el", "mipsn32r6", "mipsn32r6el":
		t.abi, t.cpu = "abin32", "mips64"+strings.TrimPrefix(t.cpu, "mipsn32")
	case "mips64", "mips64el", "mips64r6", "mips64r6el":
		if t.libc == "gnu" {
			t.abi = "abi64"
		}
	case "powerpcspe":
		t.abi, t.cpu = "spe", "powerpc"
	case "x32":
		t.abi, t.cpu = "x32", "amd64"
	}
	return t
}

// defaultLibc is the C library of an operating system named alone.
func defaultLibc(os string) string {
	switch os {
	case "dragonflybsd", "freebsd", "openbsd", "netbsd", "darwin":
		return "bsd"
	case "aix", "solaris":
		return "sysv"
	case "uclinux":
		return "uclibc"
	case "mint":
		return "tos"
	}
	return "gnu"
}
