package image

import (
	"slices"
	"strings"
)

// applets are the names that busybox has in an image for CI runners: what a job's script is made of.
const applets = "[ ash awk base64 basename cat chmod chown cmp cp cut date diff dirname du echo env expr false find grep gunzip gzip head hostname id kill ln ls " +
	"md5sum mkdir mktemp mv nproc od printf ps pwd readlink realpath rm rmdir sed seq sh sha256sum sleep sort stat tail tar tee test timeout touch tr true " +
	"uname uniq unzip wc wget which whoami xargs xz"

// CI adds to an image of mmoci what a CI runner wants of one: a shell, which
// runs what the job says, and the certificates of CAs (PEM). Runners give such images a
// workspace of root's, so it is run as root.
func CI(s Spec, busybox, certificates []byte) Spec {
	files := []File{
		{Path: "bin/busybox", Mode: 0o755, Data: busybox},
		{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Data: certificates},
		{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nmmoci:x:65532:65532:mmoci:/var/lib/mmoci:/sbin/nologin\n")},
		{Path: "root", Mode: 0o700, Dir: true},
		{Path: "usr/bin/env", Link: "/bin/busybox"},
	}
	for _, name := range strings.Fields(applets) {
		files = append(files, File{Path: "bin/" + name, Link: "busybox"})
	}
	s.Layers = append(slices.Clone(s.Layers), files)
	s.Entrypoint, s.Command, s.User, s.Ports = nil, []string{"/bin/sh"}, "", nil
	s.Environment = []string{"PATH=/usr/bin:/bin", "HOME=/root"}
	return s
}
