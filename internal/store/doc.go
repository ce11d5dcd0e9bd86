// Package store is a verified, content-addressed directory: what is in it
// under its final name has been hashed. It has a size bound, survives kills
// and power cuts, and may be shared by several processes.
package store
