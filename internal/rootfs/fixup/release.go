package fixup

import (
	"fmt"
	"strings"
)

// Paths of the files that tell programs which distribution a system is, of package base-files.
const (
	OSReleasePath     = "usr/lib/os-release"
	DebianVersionPath = "etc/debian_version"
)

// Release makes the files by which programs, scanners among them, tell which distribution a system is, of what base-files has in
// its own: os-release(5), etc/debian_version, and of Ubuntu etc/lsb-release. nil without osRelease.
func Release(osRelease, debianVersion []byte) *Fix {
	if len(osRelease) == 0 {
		return nil
	}
	f := &Fix{Name: NameRelease, Says: "which distribution this is, as package base-files has it"}
	if len(debianVersion) > 0 {
		f.Files = append(f.Files, File{Path: DebianVersionPath, Mode: 0o644, Data: debianVersion})
	}
	if values := releaseValues(osRelease); values["ID"] == "ubuntu" {
		f.Files = append(f.Files, File{Path: "etc/lsb-release", Mode: 0o644, Data: fmt.Appendf(nil, "DISTRIB_ID=%s\nDISTRIB_RELEASE=%s\nDISTRIB_CODENAME=%s\nDISTRIB_DESCRIPTION=\"%s\"\n",
			values["NAME"], values["VERSION_ID"], values["VERSION_CODENAME"], values["PRETTY_NAME"])})
	}
	f.Files = append(f.Files, File{Path: "etc/os-release", Target: "../" + OSReleasePath}, File{Path: OSReleasePath, Mode: 0o644, Data: osRelease})
	return f
}

func releaseValues(text []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		out[key] = strings.Trim(value, `"'`)
	}
	return out
}
