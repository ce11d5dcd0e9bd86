package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestKeysDocumented: configuration.md names every key of mmoci.yaml.
func TestKeysDocumented(t *testing.T) {
	page, err := os.ReadFile("../../artifacts/docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range []string{"load.go", "loadarchive.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\t\t"([a-z-]+)": +[a-z]`).FindAllStringSubmatch(string(source), -1) {
			seen++
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("configuration.md lacks %s", m[1])
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d keys", seen)
	}
}
