package document

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "2w": 14 * day, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute, "100ms": 100 * time.Millisecond, "0": 0, "0d": 0, "0s": 0,
		"": -1, "7": -1, "d": -1, "-1h": -1, "-1d": -1, "+1d": -1, "1.5d": -1, "7 d": -1, "7D": -1, "d7": -1, "1d12h": -1, "4000000000w": -1, "99999999999999999999h": -1,
	} {
		got, err := ParseDuration(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"500K": 500 << 10, "500k": 500 << 10, "5M": 5 << 20, "20G": 20 << 30, "2T": 2 << 40, "8388607T": 8388607 << 40,
		"20": -1, "": -1, "G": -1, "0G": -1, "-1G": -1, "+1G": -1, "1.5G": -1, "5x": -1, "5 M": -1, "8388608T": -1, "99999999999999999999K": -1,
	} {
		got, err := ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
