package host

import (
	"errors"
	"fmt"
	"strings"
)

// maxPolicy bounds the preferences of a mirror, in bytes.
const maxPolicy = 32 << 20

// ErrPolicy marks preferences of a mirror that say more than which versions it denies.
var ErrPolicy = errors.New("refused")

// Denied is a version of a package that a mirror's rules deny.
type Denied struct {
	Package string // NAME, or NAME:ARCHITECTURE
	Version string
}

// ParsePolicy reads the apt preferences of a mirror. They come from the network
// and nobody signed them, so they may say one thing only: that a version of a
// package is denied. Each stanza has Package (one name), Pin (version, in full)
// and Pin-Priority -1, each once; Explanation is overlooked. Patterns, other
// pins and priorities, other fields are ErrPolicy.
func ParsePolicy(data []byte) ([]Denied, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("%w: policy of %d bytes, more than %d", ErrPolicy, len(data), maxPolicy)
	}
	var out []Denied
	for i, stanza := range strings.Split(strings.Trim(string(data), "\n"), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(stanza) {
			name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch _, twice := fields[name]; {
			case strings.HasPrefix(line, "#") || name == "Explanation":
				continue
			case !ok || twice || name != "Package" && name != "Pin" && name != "Pin-Priority":
				return nil, fmt.Errorf("%w: policy, stanza %d: %.100q is no Package, Pin or Pin-Priority of its own", ErrPolicy, i+1, line)
			}
			fields[name] = value
		}
		if len(fields) == 0 {
			continue
		}
		version, ok := strings.CutPrefix(fields["Pin"], "version ")
		d := Denied{fields["Package"], version}
		switch {
		case fields["Pin-Priority"] != "-1":
			return nil, fmt.Errorf("%w: policy, stanza %d: Pin-Priority %.20q: a mirror may deny (-1), and not prefer", ErrPolicy, i+1, fields["Pin-Priority"])
		case !ok || !only(version, versionLetters) || version == "":
			return nil, fmt.Errorf("%w: policy, stanza %d: Pin %.100q is no version in full", ErrPolicy, i+1, fields["Pin"])
		case !isPackage(d.Package):
			return nil, fmt.Errorf("%w: policy, stanza %d: Package %.100q is no name of one package", ErrPolicy, i+1, d.Package)
		}
		out = append(out, d)
	}
	return out, nil
}

const (
	nameLetters    = "abcdefghijklmnopqrstuvwxyz0123456789+.-"
	versionLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+~:-"
)

func only(s, letters string) bool { return strings.Trim(s, letters) == "" }

// isPackage tells NAME or NAME:ARCHITECTURE (deb-control(5)).
func isPackage(s string) bool {
	name, arch, qualified := strings.Cut(s, ":")
	return name != "" && only(name, nameLetters) && only(arch, nameLetters) && qualified == (arch != "")
}

// FormatPolicy writes apt preferences that keep apt from denied versions.
func FormatPolicy(denied []Denied) []byte {
	var b strings.Builder
	for i, d := range denied {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Package: %s\nPin: version %s\nPin-Priority: -1\n", d.Package, d.Version)
	}
	return []byte(b.String())
}
