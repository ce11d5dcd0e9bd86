package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// TestManual makes the manual page of every command, in the directory MANUAL_DIR
// if that is set: scripts/release.sh packs them. They say VERSION, and the day of SOURCE_DATE_EPOCH.
func TestManual(t *testing.T) {
	dir := os.Getenv("MANUAL_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	root := (&app{}).root()
	root.DisableAutoGenTag = true // it holds today's date
	if completion, _, err := root.Find([]string{"completion"}); err != nil {
		t.Fatal(err)
	} else {
		completion.Hidden = true // what it prints is packed itself
	}
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "mmoci " + os.Getenv("VERSION"), Manual: "mmoci"}, dir); err != nil {
		t.Fatal(err)
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.IsAvailableCommand() {
			return
		}
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
		}
		for _, want := range []string{".TH \"" + strings.ToUpper(name) + "\" \"1\"", ".SH NAME", ".SH OPTIONS"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
