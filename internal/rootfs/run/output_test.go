package run

import (
	"bufio"
	"bytes"
	"fmt"
	"reflect"
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
	// Packages may say something of their own as they go well.
	said := strings.ReplaceAll(out.String(), "Unpacking p", "Adding 'diversion of /usr/bin/x' by p")
	if got := cutLines([]byte(said), errorLines); !strings.HasPrefix(got, fault+"\nAdding 'diversion of /usr/bin/x' by p") || !strings.HasSuffix(got, "\n /run/mmoci/0001.deb") {
		t.Errorf("%s", got)
	}
	// One that was killed says nothing but how far it came.
	if got := cutLines([]byte("Setting up a (1) ...\n\nSetting up b (2) ...\n"), errorLines); got != "Setting up a (1) ...\nSetting up b (2) ..." {
		t.Errorf("%q", got)
	}
	if got := cutLines([]byte("a\nb\nc\n"), 2); got != "b\nc" {
		t.Errorf("%q", got)
	}
}

// Names of files that are no text reach the root, and come from it, as they are.
func TestNamesAreBytes(t *testing.T) {
	var b bytes.Buffer
	asked := request{Hash: []string{"a", "caf\xe9"}, Read: "caf\xe9", Offset: 1, Env: []string{"A=b"}}
	tree := []stat{{Path: "etc"}, {Path: "caf\xe9", Target: "\xff/x", Mode: 0o644, Links: 2}}
	if err := send(&b, asked, nil); err != nil {
		t.Fatal(err)
	}
	if err := send(&b, answer{Code: 1, Tree: tree, Names: notText(tree)}, []byte("data")); err != nil {
		t.Fatal(err)
	}
	var r request
	if _, err := receive(&b, &r); err != nil || !reflect.DeepEqual(r, asked) {
		t.Errorf("%+v, %v", r, err)
	}
	p := &process{in: bufio.NewReader(&b)}
	if a, err := p.receive(); err != nil || a.Code != 1 || !reflect.DeepEqual(a.Tree, tree) {
		t.Errorf("%+v, %v", a, err)
	}
}
