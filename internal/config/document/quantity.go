package document

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Durations and sizes are written alike everywhere, in files and flags.

// ParseDuration reads a time span: 14d, 2w, or in Go's units 36h, 1h30m, 15s.
// Zero is one, a negative one is not.
func ParseDuration(s string) (time.Duration, error) {
	wrong := errors.New("should be a time such as 14d, 2w, 36h or 15s")
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(s, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(s, "w"):
		unit = 7 * 24 * time.Hour
	default:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, wrong
		}
		return d, nil
	}
	count, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || count > uint64(math.MaxInt64/unit) {
		return 0, wrong
	}
	return time.Duration(count) * unit, nil
}

// ParseSize reads a number of bytes, at least 1, with a unit K, M, G or T (powers of
// 1024; k is K). Without a unit it is refused: whoever writes 20 means no 20 bytes.
func ParseSize(s string) (int64, error) {
	wrong := errors.New("should be a size with a unit, such as 500K, 5M or 20G")
	if s == "" {
		return 0, wrong
	}
	unit := strings.IndexByte("KMGT", s[len(s)-1])
	if s[len(s)-1] == 'k' {
		unit = 0
	}
	if unit < 0 {
		return 0, wrong
	}
	shift := 10 * (unit + 1)
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		return 0, wrong
	}
	return int64(n) << shift, nil
}
