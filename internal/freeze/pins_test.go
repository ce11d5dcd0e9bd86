package freeze

import (
	"maps"
	"testing"

	"example.org/mmoci/internal/config"
)

// A lock may hold several versions of one package, of one archive or of two.
func TestPinsKeepEachVersion(t *testing.T) {
	t.Parallel()
	l := &config.Lock{Archives: []config.LockArchive{
		{Prefix: "debian", Packages: []config.LockPackage{
			{Name: "a", Architecture: "amd64", Version: "1"},
			{Name: "a", Architecture: "amd64", Version: "2"},
			{Name: "a", Architecture: "i386", Version: "3"},
		}},
		{Prefix: "other", Packages: []config.LockPackage{{Name: "a", Architecture: "amd64", Version: "4"}, {Name: "b", Architecture: "all", Version: "5"}}},
	}}
	want := map[string]string{"a:amd64": "1 2 4", "a:i386": "3", "b:all": "5"}
	if got := pins(l); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
