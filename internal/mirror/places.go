package mirror

import "errors"

// errElsewhere marks a blob that one of several places gave wrongly: read anew,
// it comes from another.
var errElsewhere = errors.New("to be read at another place")
