package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/rogpeppe/go-internal/testscript"

	"example.org/mmoci/internal/testarchive"
)

// cmdSums is "sums DIR KEY clear|detached|binary [tag]": writes SHA256SUMS of the files in a directory, as GNU sha256sum
// does (with --tag), signed by debian or docker, clear-signed or by a SHA256SUMS.asc or a binary SHA256SUMS.gpg beside it.
func cmdSums(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: sums DIR KEY clear|detached|binary [tag]")
	}
	dir := ts.MkAbs(args[0])
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	var text bytes.Buffer
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "SHA256SUMS") || e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		ts.Check(err)
		if len(args) > 3 {
			fmt.Fprintf(&text, "SHA256 (%s) = %x\n", e.Name(), sha256.Sum256(data))
		} else {
			fmt.Fprintf(&text, "%x *./%s\n", sha256.Sum256(data), e.Name())
		}
	}
	key := scriptKey(ts, args[1])
	write := func(name string, data []byte) { ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o644)) }
	switch args[2] {
	case "clear":
		write("SHA256SUMS", key.Clearsign(&scriptTB{ts: ts}, text.Bytes(), signedOn))
	case "detached":
		write("SHA256SUMS", text.Bytes())
		write("SHA256SUMS.asc", key.Detach(&scriptTB{ts: ts}, text.Bytes(), signedOn))
	case "binary":
		write("SHA256SUMS", text.Bytes())
		write("SHA256SUMS.gpg", dearmored(ts, key.Detach(&scriptTB{ts: ts}, text.Bytes(), signedOn)))
	}
}

// cmdDetach is "detach FILE KEY": writes FILE.asc, a detached signature.
func cmdDetach(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: detach FILE KEY")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".asc"), scriptKey(ts, args[1]).Detach(&scriptTB{ts: ts}, []byte(ts.ReadFile(args[0])), signedOn), 0o644))
}

// cmdDigest is "digest VAR FILE": sets VAR to the SHA256 of a file.
func cmdDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: digest VAR FILE")
	}
	ts.Setenv(args[0], fmt.Sprintf("%x", sha256.Sum256([]byte(ts.ReadFile(args[1])))))
}

func scriptKey(ts *testscript.TestScript, name string) *testarchive.Key {
	switch name {
	case "debian":
		return testarchive.DebianKey()
	case "docker":
		return testarchive.DockerKey()
	}
	ts.Fatalf("no key %s", name)
	return nil
}

func dearmored(ts *testscript.TestScript, sig []byte) []byte {
	block, err := armor.Decode(bytes.NewReader(sig))
	ts.Check(err)
	var b bytes.Buffer
	_, err = b.ReadFrom(block.Body)
	ts.Check(err)
	return b.Bytes()
}

// signedOn is when the lists of scripts are signed.
var signedOn = time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)
