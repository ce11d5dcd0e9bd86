// Package stack makes of packages' layers those of an image: in which order and groups they lie, what dpkg would have made of the packages
// together, and the system layer that makes their union the same. It is a model of dpkg, and runs nothing.
//
// Like package rootfs it is a function of its arguments: no clock, no files, no programs.
package stack
