package imagebuild

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// No room that makes an image asks which day it is, but to know what an earlier build left behind. (A program that shows another day
// to others, such as faketime, replaces calls of libc, which mmoci does not make.)
func TestNoClock(t *testing.T) {
	clock := regexp.MustCompile(`\btime\.(Now|Since|Until|Local)\b|\.Local\(\)`)
	read := 0
	for _, room := range []string{".", "../rootfs", "../rootfs/account", "../rootfs/fixup", "../rootfs/run", "../rootfs/sharedlib", "../rootfs/stack", "../image", "../sbom", "../provenance", "../distribution", "../config/imageplan"} {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, no files", room, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || file == "cache.go" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			read++
			if found := clock.Find(text); found != nil {
				t.Errorf("%s asks for %s", file, found)
			}
		}
	}
	if read < 50 {
		t.Errorf("%d files", read)
	}
}
