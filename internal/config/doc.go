// Package config turns mmoci.yaml, the lock and every foreign input (a
// sources/ tree, mini-mirror YAML, apt sources) into one [Plan]. Bad input is
// an error with file and line; nothing is read from a network.
package config
