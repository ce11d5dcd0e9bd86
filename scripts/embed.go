// Package scripts holds the script that a snapshot carries for hosts that have
// nothing, beside those that build and test mmoci.
package scripts

import _ "embed"

//go:embed bootstrap.sh
var bootstrap string

// Bootstrap is bootstrap.sh.
func Bootstrap() []byte { return []byte(bootstrap) }
