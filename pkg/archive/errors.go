package archive

import "example.org/mmoci/pkg/archive/pgp"

var (
	// ErrIntegrity is [pgp.ErrIntegrity]: what a signature or digest says of bytes is not so.
	ErrIntegrity = pgp.ErrIntegrity
	// ErrExpired is [pgp.ErrExpired]: genuine, and no longer good.
	ErrExpired = pgp.ErrExpired
)
