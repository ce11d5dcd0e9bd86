package run

import (
	"path"
	"strings"
)

// rule says of which files the image has none, or an empty one.
type rule struct {
	pattern string // of path.Match; "/**" at the end is all below
	why     string
	empty   bool
}

// rules are what scripts leave behind that says when, where or in which order
// they ran, or that must not be the same on two machines. It is what mmdebstrap
// and debuerreotype remove, and what passwd and dpkg keep as yesterday's copy.
// Keys are not among them: an image with a key that everybody has is not to be
// made, and Twice finds those.
var rules = []rule{
	{"var/log/dpkg.log", "a log", false},
	{"var/log/alternatives.log", "a log", false},
	{"var/log/bootstrap.log", "a log", false},
	{"var/log/faillog", "a log", false},
	{"var/log/lastlog", "a log", false},
	{"var/log/fontconfig.log", "a log", false},
	{"var/log/apt/**", "a log", false},
	{"var/cache/ldconfig/aux-cache", "a cache of inodes and times", false},
	{"var/cache/apt/*.bin", "a cache", false},
	{"var/cache/man/**", "a cache of times", false},
	{"var/lib/apt/lists/**", "lists of the time of installation", false},
	{"etc/machine-id", "an id of one machine", true},
	{"var/lib/dbus/machine-id", "an id of one machine", false},
	{"var/lib/systemd/random-seed", "random", false},
	{"var/lib/systemd/credential.secret", "random", false},
	{"etc/.pwd.lock", "a lock", false},
	{"var/lib/dpkg/lock", "a lock", false},
	{"var/lib/dpkg/lock-frontend", "a lock", false},
	{"var/lib/dpkg/triggers/Lock", "a lock", false},
	{"etc/passwd-", "yesterday's copy", false},
	{"etc/group-", "yesterday's copy", false},
	{"etc/shadow-", "yesterday's copy", false},
	{"etc/gshadow-", "yesterday's copy", false},
	{"etc/subuid-", "yesterday's copy", false},
	{"etc/subgid-", "yesterday's copy", false},
	{"var/lib/dpkg/status-old", "yesterday's copy", false},
	{"var/lib/dpkg/diversions-old", "yesterday's copy", false},
	{"var/lib/dpkg/statoverride-old", "yesterday's copy", false},
	{"var/lib/dpkg/available-old", "yesterday's copy", false},
	{"var/cache/debconf/*-old", "yesterday's copy", false},
	{"root/.bash_history", "a log", false},
}

// isCleaned tells why a path is cleaned, and whether an empty file stays.
func isCleaned(p string) (why string, empty bool) {
	for _, r := range rules {
		if dir, below := strings.CutSuffix(r.pattern, "**"); below {
			if strings.HasPrefix(p, dir) {
				return r.why, r.empty
			}
		} else if ok, _ := path.Match(r.pattern, p); ok {
			return r.why, r.empty
		}
	}
	return "", false
}
