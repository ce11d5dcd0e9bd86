package main

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// seed NAME: lays what a group of users has, testdata/seeds/NAME, into the working directory, with the samples beside it.
func cmdSeed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: seed NAME")
	}
	for _, dir := range []string{filepath.Join("..", "..", "testdata", "seeds", args[0]), filepath.Join("..", "..", "artifacts", "samples")} {
		ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(dir)))
	}
}
