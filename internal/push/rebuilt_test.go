package push

import (
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// An own package under the same version with other bytes is refused, whatever its format; what another made and the site
// vouches for is the other's to change.
func TestRebuilt(t *testing.T) {
	t.Parallel()
	of := func(format string, mode snapshot.Mode, class snapshot.Class, path, text string) *snapshot.Snapshot {
		p := snapshot.Package{Name: "app", Version: "1", Architecture: "noarch", Source: "app"}
		table, err := snapshot.NewTable([]snapshot.Row{{Path: path, Size: int64(len(text)), Digest: snapshot.Sum([]byte(text)), Package: p}})
		if err != nil {
			t.Fatal(err)
		}
		a := snapshot.Archive{Prefix: "own", Mode: mode, Class: class, Format: format}
		return &snapshot.Snapshot{Statement: &snapshot.Statement{Archives: []snapshot.Archive{a}}, Table: table}
	}
	for _, test := range []struct {
		format string
		mode   snapshot.Mode
		class  snapshot.Class
		path   string
		bad    bool
	}{
		{snapshot.FormatDeb, snapshot.Curated, snapshot.Site, "own/pool/main/a/app/app_1_all.deb", true},
		{snapshot.FormatRPM, snapshot.Curated, snapshot.Site, "own/app-1.noarch.rpm", true},
		{snapshot.FormatRPM, snapshot.Verbatim, snapshot.Site, "own/app-1.noarch.rpm", false},
		{snapshot.FormatRPM, snapshot.Verbatim, snapshot.Upstream, "own/app-1.noarch.rpm", false},
		{snapshot.FormatDeb, snapshot.Curated, snapshot.Upstream, "own/pool/main/a/app/app_1_all.deb", false},
	} {
		old := of(test.format, test.mode, test.class, test.path, "one")
		err := rebuilt(old, of(test.format, test.mode, test.class, test.path, "other"))
		if (err != nil) != test.bad || test.bad && !strings.Contains(err.Error(), "archive own: app 1 noarch is sha256:") {
			t.Errorf("%+v: %v", test, err)
		}
		if err := rebuilt(old, of(test.format, test.mode, test.class, test.path, "one")); err != nil {
			t.Errorf("%+v, unchanged: %v", test, err)
		}
	}
}
