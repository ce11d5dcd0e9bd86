// Package scripts holds the script that a snapshot carries for hosts that have
// nothing, beside those that build and test mmoci.
package scripts

import (
	_ "embed"
	"strings"
)

//go:embed bootstrap.sh
var bootstrap string

// noPrograms is the line of bootstrap.sh that names the programs it comes with.
const noPrograms = "\nprograms=''\n"

// Bootstrap is bootstrap.sh as it comes with programs, each ARCHITECTURE:SHA256.
func Bootstrap(programs []string) []byte {
	return []byte(strings.Replace(bootstrap, noPrograms, "\nprograms='"+strings.Join(programs, " ")+"'\n", 1))
}
