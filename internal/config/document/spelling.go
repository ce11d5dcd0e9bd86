package document

import (
	"slices"
	"strings"
)

// foreign maps words of other programs to ours.
func foreign(word string) string {
	return map[string]string{
		"uri": "url", "uris": "url", "urls": "url", "baseurl": "url", "mirror-url": "url",
		"suite": "suites", "dist": "suites", "distribution": "suites", "distributions": "suites", "release": "suites",
		"component": "components", "section": "components", "sections": "components",
		"arch": "architectures", "archs": "architectures", "architecture": "architectures",
		"key": "signed-by", "keyring": "signed-by", "key_url": "signed-by", "key-url": "signed-by", "gpg-key": "signed-by",
		"name": "prefix", "filter": "packages", "package": "packages", "queries": "packages",
		"cert": "client-cert", "username": "auth", "password": "auth", "netrc": "auth", "cafile": "ca", "ca-file": "ca",
		"passphrase": "passphrase-file", "reference": "ref", "repo": "ref", "target": "ref", "signing": "sign",
		"keyrings": "trust", "mirrors": "archives", "sources": "with-sources", "repositories": "archives", "carry": "bundle",
	}[word]
}

// Nearest is the known word that was probably meant, "" if none is near.
func Nearest(word string, known []string) string {
	w := strings.ReplaceAll(strings.ToLower(word), "_", "-")
	if slices.Contains(known, w) {
		return w
	}
	if f := foreign(strings.ToLower(word)); f != "" && slices.Contains(known, f) {
		return f
	}
	best, at := "", 1+min(len(w)/3, 3)
	for _, k := range known {
		if d := Distance(w, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// Distance is the number of letters to insert, delete, exchange or swap with
// their neighbour to make b of a. Long words count as far from everything.
func Distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
