package fileplan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config/document"
)

const sum = "029beaa519a0d478f100f5e687d0cbea2de009ed619664cccd02b10b832943dd"

func TestLines(t *testing.T) {
	t.Parallel()
	files, err := parseList("a.txt", []byte("\ufeff# tarballs\r\n\r\n"+sum+"  a/b-1.0.tar.gz\thttps://files.example.org/b.tgz?x=1 http://mirror.example.org/b-1.0.tar.gz # twice\r\n- c https://files.example.org/c\n"+strings.ToUpper(sum)+" d file:///srv/d\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 || files[0].Path != "a/b-1.0.tar.gz" || files[0].SHA256 != sum || len(files[0].URLs) != 2 || files[0].Line != 3 ||
		files[1].SHA256 != "" || files[1].URLs[0] != "https://files.example.org/c" || files[2].SHA256 != sum {
		t.Errorf("%+v", files)
	}
}

// malformed are lines that are refused, each with what to write.
var malformed = map[string]string{
	sum:                                "write SHA256 PATH URL..",
	sum + " a":                         "without a URL; write " + sum + " a URL",
	sum + " https://example.org/x.tgz": "write " + sum + " x.tgz https://example.org/x.tgz",
	"https://example.org/x.tgz":        "write SHA256 x.tgz https://example.org/x.tgz",
	"https://example.org/x.tgz " + sum: "write " + sum + " x.tgz https://example.org/x.tgz",
	"x.tgz " + sum + " https://example.org/x.tgz":                     "the path stands first; write " + sum + " x.tgz https://example.org/x.tgz",
	"x - https://example.org/x":                                       "write - first",
	"sha256:" + sum + " x https://example.org/x":                      "write " + sum,
	sum[:40] + " x https://example.org/x":                             "a SHA1 digest; write the SHA256",
	sum[:32] + " x https://example.org/x":                             "an MD5 digest",
	sum + sum + " x https://example.org/x":                            "a SHA512 digest",
	sum[:63] + " x https://example.org/x":                             "a digest of 63 digits",
	strings.Repeat("0", 64) + " x https://example.org/x":              "placeholder",
	"latest x https://example.org/x":                                  "is no digest; write SHA256 PATH URL..",
	sum + " *x":                                                       "a line of sha256sum; write " + sum + " x URL",
	"SHA256 (x) = " + sum:                                             "a line of sha256sum --tag; write " + sum + " x URL",
	sum + " /x https://example.org/x":                                 "write x, relative",
	sum + " ../x https://example.org/x":                               "write a path relative to the archive",
	sum + " a//x https://example.org/x":                               "write a path relative to the archive",
	sum + " ./x https://example.org/x":                                "begins with ./; write x",
	sum + " x/ https://example.org/x":                                 "write the file's name behind it",
	sum + " SHA256SUMS https://example.org/SHA256SUMS":                "which the site writes",
	sum + " x ftp://example.org/x":                                    "write https://example.org/x",
	sum + " x example.org/x":                                          "has no scheme; write https://example.org/x",
	sum + " x https://example.org/":                                   "the address of a directory",
	sum + " x https://example.org/x#y":                                "write it without",
	sum + " x https:///x":                                             "has no host",
	sum + " x file://host/x":                                          "file:///PATH",
	sum + " x s3://bucket/x":                                          "scheme s3",
	sum + " x https://example.org/x.git":                              "is a git tree",
	sum + " x git@example.org:x":                                      "is a git tree",
	sum + " x https://example.org/x https://example.org/x":            "stands twice; write it once",
	"!x-1.0.tgz#x#https://example.org/x.tgz#http##":                   "run it once, put x-1.0.tgz on a server",
	"! something":                                                     "begins with !",
	"x-1.0.tgz#x#https://example.org/x.tgz#http##":                    "write SHA256 x-1.0.tgz https://example.org/x.tgz",
	"x.tgz#x#https://example.org/x#git#abc#":                          "of a git tree",
	"x.tgz#x#https://example.org/x#http_script#x#y":                   "by http_script",
	"x.tgz#x#https://example.org/x#http_filelist#x#y":                 "by http_filelist",
	"x.tgz#x#example.org/x#http##":                                    "without the URL of http or https",
	sum + " SHA256SUMS/x https://example.org/x":                       "which is a file that the site writes",
	sum + " a/.mmoci-tmp-x https://example.org/x":                     "files do that are being written",
	sum + " x\x01 https://example.org/x":                              "control character",
	sum + " " + strings.Repeat("x", maxLine) + " https://example.org": "at most",
}

func TestMalformedLines(t *testing.T) {
	t.Parallel()
	for line, want := range malformed {
		_, err := parseList("dir/list.txt", []byte("# first\n"+line+"\n"+sum+" good https://example.org/good\n"))
		if err == nil {
			t.Errorf("%.120q is taken", line)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "dir/list.txt:2: ") || !strings.Contains(text, want) || strings.Contains(text, "list.txt:3") {
			t.Errorf("%.120q: %s\nwant %q", line, text, want)
		}
	}
	for text, want := range map[string]string{"# nothing\n": "no file in the list", "\xff\xfe": "not UTF-8"} {
		if _, err := parseList("list.txt", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEntries: what an entry of a configuration must say, and what does not go together.
func TestEntries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(sum+" a https://example.org/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const head = "prefix: files\nformat: files\n"
	const sums = "sums: [{url: https://example.org/iso/SHA256SUMS, signature: SHA256SUMS.gpg, take: ['*.iso']}]\n"
	for entry, want := range map[string]string{
		"from: list": "",
		"from: [list]\nstrategy: upstream-first\nca: ca.pem":                                                 "",
		"from: list\nsignature: '{url}.asc'\nsigned-by: k\n" + sums:                                          "",
		"files: [{path: x, sha256: '-', url: https://example.org/x}]":                                        "",
		"sums: [{url: https://example.org/SHA256SUMS, signature: none, take: '*', signed-by: k, to: 12.5/}]": "",
		"":                                  "asks for no file; write from: [LIST], files: or sums:",
		"from: other":                       "no such file",
		"from: []":                          "empty",
		"mode: verbatim\nfrom: list":        "should be curated",
		"from: list\nurl: x":                "unknown",
		"from: list\nsigned-by: k":          "nothing is verified with it",
		sums:                                "no key; write signed-by: FILE",
		"from: list\nsigned-by: k\n" + sums: "make two archives of it",
		"from: list\nsignature: x.asc\nsigned-by: k":                                                                                                                   "with {url} for the file's own",
		"from: list\nstrategy: fastest":                                                                                                                                "should be one of",
		"signed-by: https://example.org/k\n" + sums:                                                                                                                    "is a URL",
		"sums: [{url: https://example.org/SHA256SUMS, signature: none, signed-by: k}]":                                                                                 "no take:",
		"sums: [{url: https://example.org/SHA256SUMS, take: '*', signed-by: k}]":                                                                                       "no signature:",
		"sums: [{signature: none, take: '*', signed-by: k}]":                                                                                                           "no url:",
		"sums: [{url: https://example.org/SHA256SUMS, signature: none, take: '[', signed-by: k}]":                                                                      "is no glob",
		"sums: [{url: https://example.org/SHA256SUMS, signature: none, take: '*', signed-by: k, to: ../x}]":                                                            "should be a directory",
		"signed-by: other\nsums: [{url: https://example.org/SHA256SUMS, signature: none, take: '*', signed-by: k}]":                                                    "a prefix has one key",
		"signed-by: k\nsums: [{url: https://example.org/SHA256SUMS, signature: none, take: '*'}, {url: https://example.org/b/SHA256SUMS, signature: none, take: '*'}]": "give one of them to: DIRECTORY",
		"files: [{path: x, url: https://example.org/x}]":                                                                                                               "needs path:, sha256:",
		"from: list\nfiles: [{path: a, sha256: '-', url: https://example.org/a}]":                                                                                      "another digest",
		"from: list\nfiles: [{path: a, sha256: " + sum + ", url: https://example.org/b}]":                                                                              "other URLs",
		"from: list\nfiles: [{path: a/b, sha256: '-', url: https://example.org/a}]":                                                                                    "lies below a, which is a file",
	} {
		docs, err := document.Parse("mmoci.yaml", []byte(head+entry+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		r := Reader{File: func(s string) string { return filepath.Join(dir, s) }, Strategies: []string{"mirror", "upstream-first"}}
		_, err = r.Read(docs[0])
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %q", entry, err, want)
		}
	}
}

// FuzzList: what is taken of a list is written and read as the same again.
func FuzzList(f *testing.F) {
	for line := range malformed {
		f.Add(line)
	}
	f.Add(sum + " a/b https://example.org/x?y=1 file:///z # c\n- d http://[::1]:80/e\n")
	f.Fuzz(func(t *testing.T, text string) {
		files, _ := parseList("list", []byte(text))
		for _, x := range files {
			digest := x.SHA256
			if digest == "" {
				digest = unpinned
			}
			line := strings.Join(append([]string{digest, x.Path}, x.URLs...), " ")
			again, err := parseList("list", []byte(line))
			if err != nil || len(again) != 1 || again[0].Path != x.Path || again[0].SHA256 != x.SHA256 || len(again[0].URLs) != len(x.URLs) {
				t.Fatalf("%q: %+v, %v", line, again, err)
			}
		}
	})
}
