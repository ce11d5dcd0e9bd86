package aptlyconf

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

func valid(a string) error {
	if strings.Contains(a, "_") {
		return errors.New("is no architecture")
	}
	return nil
}

// defaults is what "aptly config show" of 1.5 prints, with an architecture, and endpoints as its manual shows them.
const defaults = `{
    "rootDir": "/var/lib/aptly",
    "downloadConcurrency": 4,
    "downloadSpeedLimit": 0,
    "downloadRetries": 0,
    "downloader": "default",
    "databaseOpenAttempts": -1,
    "architectures": ["amd64"],
    "dependencyFollowSuggests": false,
    "dependencyFollowRecommends": false,
    "dependencyFollowAllVariants": false,
    "dependencyFollowSource": false,
    "dependencyVerboseResolve": false,
    "gpgDisableSign": true,
    "gpgDisableVerify": true,
    "gpgProvider": "gpg",
    "downloadSourcePackages": false,
    "skipLegacyPool": true,
    "ppaDistributorID": "ubuntu",
    "ppaCodename": "",
    "skipContentsPublishing": false,
    "skipBz2Publishing": false,
    "FileSystemPublishEndpoints": {"test": {"rootDir": "/opt/aptly-publish", "linkMethod": "copy", "verifyMethod": "md5"}},
    "S3PublishEndpoints": {"test": {"region": "us-east-1", "bucket": "repo", "awsSecretAccessKey": "hunter2", "debug": false}},
    "SwiftPublishEndpoints": {},
    "AzurePublishEndpoints": {},
    "AsyncAPI": false,
    "enableMetricsEndpoint": false
}
`

// sample is the YAML form of 1.6, spelled as its sample file spells it.
const sample = `# Aptly Configuration File
root_dir: ~/.aptly
log_level: info
database_open_attempts: -1
architectures:
    - amd64
    - arm64
skip_legacy_pool: true
dep_follow_suggests: false
dep_follow_recommends: true
dep_follow_allvariants: false
dep_follow_source: true
dep_verbose_resolve: false
ppa_codename: ""
database_backend:
    type: leveldb
    db_path: ""
download_sourcepackages: true
gpg_keys: []
filesystem_publish_endpoints:
s3_publish_endpoints:
    test: {secret_access_key: hunter2}
packagepool_storage:
    type: local
    path:
`

func TestParse(t *testing.T) {
	t.Parallel()
	at := document.At("aptly.conf", 1)
	for _, tt := range []struct {
		name, text string
		want       Conf
	}{
		{"defaults", defaults, Conf{Architectures: []string{"amd64"}}},
		{"sample", sample, Conf{Architectures: []string{"amd64", "arm64"}, Sources: true, Recommends: document.At("aptly.conf", 10)}},
		{"nothing", "", Conf{}},
		{"no keys", "{}", Conf{}},
		{"comments and commas", "// vim: : filetype=json\n# x\n{\n\t\"architectures\": [\"arm64\", \"source\",], // \"no\": 1\n\t\"rootDir\": \"http://x#y\", // {\n}\n", Conf{Architectures: []string{"arm64"}, Sources: true}},
		{"capitals as encoding/json", `{"DownloadSourcepackages": true}`, Conf{Sources: true}},
		{"source alone", `{"architectures": ["source"]}`, Conf{Sources: true}},
		{"CRLF", "{\r\n\"dependencyFollowRecommends\":\r\n true}\r\n", Conf{Recommends: document.At("aptly.conf", 2)}},
	} {
		got, err := Parse(at, []byte(tt.text), valid)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, says string }{
		{"x", `aptly.conf:1: aptly configuration: not JSON`},
		{"{", `aptly.conf:1: aptly configuration: not JSON from here on`},
		{"{\n\"rootDir\": hunter2\n}", `aptly.conf:2: aptly configuration: not JSON from here on`},
		{"{\n\"rootDir\"\n: 1\n\"x\"}", `aptly.conf:4: aptly configuration: not JSON from here on`},
		{"{\n}\n\n{}", `aptly.conf:4: aptly configuration: text after the closing brace`},
		{"a: 1\n---\nb: 1\n", `aptly.conf:3: aptly configuration: a second document begins here`},
		{"- a\n", `aptly.conf:1: aptly configuration: not JSON, and not YAML with keys`},
		{"{\n\n\"architecture\": [\"arm64\"]}", `aptly.conf:3: aptly configuration: unknown key "architecture"; did you mean "architectures"?`},
		{`{"dependencyFollowRecomends": true}`, `unknown key "dependencyFollowRecomends"; did you mean "dependencyFollowRecommends"?`},
		{`{"S3PublishEndpoint": {}}`, `did you mean "S3PublishEndpoints"?`},
		{`{"zzzzzz": "hunter2"}`, `aptly.conf:1: aptly configuration: unknown key "zzzzzz", which aptly would ignore; remove it`},
		{"root_dir: x\ndep_follow_recomends: true\n", `aptly.conf:2: aptly configuration: unknown key "dep_follow_recomends"; did you mean "dep_follow_recommends"?`},
		{"root-dirs: x\n", `did you mean "root_dir"?`},
		{"{\"rootDir\": 1,\n\"rootDir\": 2}", `aptly.conf:2: aptly configuration: rootDir stands twice, first in line 1`},
		{"{\n\"architectures\": []}", `aptly.conf:2: aptly configuration: architectures is empty, which to aptly means every architecture`},
		{"architectures: []\n", `aptly.conf:1: aptly configuration: architectures is empty`},
		{`{"architectures": "amd64"}`, `aptly configuration: architectures should be a list of words`},
		{`{"architectures": ["x_y"]}`, `aptly configuration: architectures: "x_y" is no architecture`},
		{`{"downloadSourcePackages": "yes"}`, `aptly configuration: downloadSourcePackages should be true or false`},
		{`{"dependencyFollowSuggests": true}`, `aptly configuration: dependencyFollowSuggests is not supported; set it to false and name`},
		{`{"dependencyFollowAllVariants": true}`, `aptly configuration: dependencyFollowAllVariants is not supported`},
		{`{"dependencyFollowSource": true}`, `aptly configuration: dependencyFollowSource follows to source packages, of which there are none; set downloadSourcePackages`},
		{`{"gpgKeys": ["A16BE921"]}`, `aptly configuration: gpgKeys names keys of a GnuPG keyring, which is not read`},
	} {
		_, err := Parse(document.At("aptly.conf", 1), []byte(tt.text), valid)
		if !errors.Is(err, document.ErrUsage) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.text, err, tt.says)
		}
	}
}

// TestAllAtOnce: one error tells each fault, with its own line, counted from where the text stands.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse(document.At("f", 11), []byte("{\n\"arch\": [],\n\"dependencyFollowSuggests\": true,\n\"architectures\": [\"a_\", \"b_\"],\n\"gpgKeys\": 1\n}"), valid)
	want := []string{"f:12: ", "f:13: ", "f:14: ", "f:14: ", "f:15: "}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%v", err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s, not at %s", got[i], want[i])
		}
	}
}

// FuzzParse holds that a text is read or refused as bad input, each fault in a line that the text has.
func FuzzParse(f *testing.F) {
	for _, s := range []string{defaults, sample, "{\"a\": \"\\\"//\", // x\n}", "{\"rootDir\": [[[", "a: [b", "\"", "{,}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(document.At("f", 3), data, valid)
		if err == nil {
			if len(c.Architectures) > 0 && c.Recommends.Line > 0 && c.Recommends.Line < 3 {
				t.Errorf("Recommends at %s", c.Recommends)
			}
			return
		}
		if !errors.Is(err, document.ErrUsage) {
			t.Errorf("%q", err)
		}
		list := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			list = joined.Unwrap()
		}
		for _, e := range list {
			if strings.HasPrefix(e.Error(), "f:1:") && !strings.Contains(e.Error(), "UTF-8") && !strings.Contains(e.Error(), "not YAML") {
				t.Errorf("before the text: %q", e)
			}
		}
		if clean := withoutComments(data); len(clean) != len(data) || strings.Count(string(clean), "\n") != strings.Count(string(data), "\n") {
			t.Errorf("%q became %q", data, clean)
		}
	})
}
