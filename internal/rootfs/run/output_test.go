package run

import (
	"fmt"
	"strings"
	"testing"
)

// An error of dpkg is told however many packages it took afterwards.
func TestErrorBeforeProgress(t *testing.T) {
	const fault = "dpkg: error processing archive /run/mmoci/0001.deb (--unpack):\n new a package pre-installation script subprocess returned error exit status 1"
	var out strings.Builder
	fmt.Fprintln(&out, "Selecting previously unselected package a.\n(Reading database ... 100%\nPreparing to unpack /run/mmoci/0001.deb ...\n"+fault)
	for i := range 200 {
		fmt.Fprintf(&out, "Selecting previously unselected package p%d.\nPreparing to unpack /run/mmoci/%04d.deb ...\nUnpacking p%d (1) ...\n\n", i, i, i)
	}
	out.WriteString("Processing triggers for libc-bin (2) ...\nErrors were encountered while processing:\n /run/mmoci/0001.deb\n")
	want := fault + "\nErrors were encountered while processing:\n /run/mmoci/0001.deb"
	if got := cutLines([]byte(out.String()), errorLines); got != want {
		t.Errorf("%s", got)
	}
	if got := cutLines([]byte("a\nb\nc\n"), 2); got != "b\nc" {
		t.Errorf("%q", got)
	}
}
