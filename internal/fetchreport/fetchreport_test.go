package fetchreport

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	r := Report{
		Missing: []string{"list:3: b 2: there is 1"},
		Files: []File{
			{Archive: "debian", Path: "pool/z.deb", Digest: "sha256:2", Size: 7, Kind: Upstream, From: "http://u.example.org", Tries: 2, Failures: []string{"http://m.example.org: not\nfound\x1b[2J"}},
			{Archive: "debian", Path: "pool/a.deb", Digest: "sha256:1", Size: 5, Kind: Mirror, From: "http://m.example.org", Tries: 1},
			{Archive: "debian", Path: "pool/b.deb", Digest: "sha256:3", Size: 5, Kind: There},
		},
	}
	r.Sort()
	text := string(r.Table())
	for _, want := range []string{
		"mirror    1      sha256:1  debian/pool/a.deb  http://m.example.org\n", "upstream  2      sha256:2  debian/pool/z.deb  http://u.example.org\n",
		"not from         http://m.example.org: not found [2J", "mirror: 1 files, 5 bytes, 1 tries\nupstream: 1 files, 7 bytes, 2 tries\nthere: 1 files, 5 bytes, 0 tries\n",
		"missing: list:3: b 2: there is 1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Index(text, "a.deb") > strings.Index(text, "z.deb") {
		t.Error(text)
	}
	data, err := r.JSON()
	var back Report
	if err != nil || json.Unmarshal(data, &back) != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%v: %s", err, data)
	}
	if data, _ := (&Report{}).JSON(); !strings.Contains(string(data), `"files": []`) || !strings.Contains(string(data), `"missing": []`) {
		t.Errorf("%s", data)
	}
}
