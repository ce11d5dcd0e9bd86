package pgp

import "errors"

// ErrIntegrity marks bytes that contradict what a signature or digest says of
// them: a bad, missing or foreign signature, a mismatching index. The program
// ends with exit code 3 on it.
var ErrIntegrity = errors.New("integrity")

// ErrExpired marks what is genuine but no longer good: past its Valid-Until or
// valid-until, older than --max-age, or signed by an expired signature. The
// program ends with exit code 5 on it.
var ErrExpired = errors.New("too old")
