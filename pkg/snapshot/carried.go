package snapshot

import (
	"errors"
	"slices"
	"strings"
)

// CarriedDir begins the paths of what a snapshot carries for hosts that have
// nothing (SPEC section 3): CarriedDir + ARCHITECTURE is a static mmoci,
// CarriedDir + [Bootstrap] a shell script. They are of no archive: what vouches
// for them is the statement, by the digest of the table.
const (
	CarriedDir = "mmoci/"
	Bootstrap  = "bootstrap.sh"
)

// CarriedArchitectures are those that a reader may be carried for.
func CarriedArchitectures() []string {
	return []string{"amd64", "arm64", "armhf", "i386", "loong64", "ppc64el", "riscv64", "s390x"}
}

var errNotCarried = errors.New(`below "mmoci/" are programs by architecture and bootstrap.sh only`)

// IsCarried tells a path of what a snapshot carries from those of archives.
func IsCarried(path string) bool { return strings.HasPrefix(path, CarriedDir) }

// validCarried tells why a path below CarriedDir may not be listed.
func validCarried(path string) error {
	name := strings.TrimPrefix(path, CarriedDir)
	if name == Bootstrap || slices.Contains(CarriedArchitectures(), name) {
		return nil
	}
	return errNotCarried
}
