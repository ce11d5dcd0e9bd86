package resolve

import "errors"

// ErrUnsatisfied marks a package or dependency that the archives cannot give (exit code 4).
var ErrUnsatisfied = errors.New("unsatisfied")
