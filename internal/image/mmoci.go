package image

import "time"

// User is whom mmoci runs as in its image: nobody of any host.
const User = 65532

// MMOCI is the image of mmoci itself: the static program, and directories for
// configuration and state. No shell, no CA certificates: those are mounted.
func MMOCI(architecture, version string, program []byte, created time.Time) Spec {
	return Spec{
		Architecture: architecture,
		Layers: [][]File{{
			{Path: "usr/bin/mmoci", Mode: 0o755, Data: program},
			{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/:/sbin/nologin\nmmoci:x:65532:65532:mmoci:/var/lib/mmoci:/sbin/nologin\n")},
			{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nmmoci:x:65532:\n")},
			{Path: "etc/mmoci", Mode: 0o755, Dir: true},
			{Path: "etc/ssl/certs", Mode: 0o755, Dir: true},
			{Path: "tmp", Mode: 0o1777, Dir: true},
			{Path: "var/lib/mmoci", Mode: 0o750, Dir: true, UID: User},
		}},
		Entrypoint:  []string{"/usr/bin/mmoci"},
		Command:     []string{"serve", "--listen", "0.0.0.0:8000"},
		Environment: []string{"PATH=/usr/bin", "HOME=/var/lib/mmoci", "XDG_STATE_HOME=/var/lib", "TMPDIR=/var/lib/mmoci"}, // what is not kept goes where something may be written
		Ports:       []string{"8000/tcp"},
		User:        "65532:65532",
		Labels: map[string]string{
			"org.opencontainers.image.title":   "mmoci",
			"org.opencontainers.image.version": version,
		},
		Created: created,
	}
}
