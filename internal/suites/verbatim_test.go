package suites

import (
	"slices"
	"testing"

	"example.org/mmoci/internal/config"
)

// TestTargets holds which listed files a verbatim archive carries, and that
// each of them that may be dropped has the name that drop: knows.
func TestTargets(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{ // "-": never carried
		"i18n/Translation-en.xz":                "translation",
		"Contents-amd64.gz":                     "contents",
		"dep11/Components-amd64.yml.xz":         "dep11",
		"dep11/icons-48x48.tar.gz":              "dep11",
		"cnf/Commands-amd64.xz":                 "cnf",
		"binary-amd64/Release":                  "",
		"source/Release":                        "",
		"binary-amd64/Packages.xz":              "-",
		"debian-installer/binary-amd64/Release": "-",
		"binary-amd64/Packages.diff/Index":      "-",
		"Contents-udeb-amd64.gz":                "-",
		"installer-amd64/current/SHA256SUMS":    "-",
		"i18n/Translation-en.bz2":               "-",
	} {
		got, ok := targetOf(p)
		switch {
		case ok != (want != "-"), ok && got.name != want:
			t.Errorf("%s: %+v, %t, want %s", p, got, ok, want)
		case ok && want != "" && !slices.Contains(config.Targets(), got.name):
			t.Errorf("%s is %s, which cannot be dropped", p, got.name)
		}
	}
}
