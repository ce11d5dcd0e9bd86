package deb

import "io"

// Control reads the control stanza of a .deb and nothing behind it (deb(5)).
func Control(r io.Reader) (Stanza, error) { panic("contract") }
