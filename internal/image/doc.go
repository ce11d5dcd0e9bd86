// Package image makes container images of files, without a daemon and
// reproducibly: what goes in decides every byte that comes out.
package image
