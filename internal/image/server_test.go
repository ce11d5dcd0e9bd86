package image

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

func mirror(t *testing.T, ref string) Mirror {
	t.Helper()
	r, err := artifact.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return Mirror{Ref: r, Date: at().AddDate(26, 0, 0), Keys: []byte("keys")}
}

const pushed = "[::1]:5000/site/mirror:noble@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// The configuration in a server image is one that mmoci loads, and names snapshot
// and keys; the layer of the program is that of every other snapshot.
func TestServing(t *testing.T) {
	base := MMOCI("amd64", "v1", []byte("program"), at())
	m := mirror(t, pushed)
	m.CA, m.PlainHTTP = []byte("ca"), true
	img := build(t, Serving(base, m))
	files, _ := contents(t, read(t, img))
	dir := t.TempDir()
	file := filepath.Join(dir, "mmoci.yaml")
	if err := os.WriteFile(file, []byte(files["etc/mmoci/mmoci.yaml"]), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Ref != pushed || !slices.Equal(plan.Trust, []string{filepath.Join(dir, "site.asc")}) || plan.Serve.State != "/var/lib/mmoci" || !slices.Equal(plan.Serve.Listen, []string{"0.0.0.0:8000"}) {
		t.Errorf("plan %+v of\n%s", plan, files["etc/mmoci/mmoci.yaml"])
	}
	if files["etc/mmoci/site.asc"] != "keys" || files["etc/ssl/certs/ca-certificates.crt"] != "ca" || files["usr/bin/mmoci"] != "program" {
		t.Errorf("files %v", files)
	}
	cf, err := read(t, img).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := cf.Config; !slices.Equal(c.Cmd, []string{"serve", "--listen=0.0.0.0:8000", "--wait", "--plain-http", pushed}) || c.User != "65532:65532" || !slices.Contains(c.Env, "DOCKER_CONFIG=/etc/mmoci") ||
		c.Labels["org.opencontainers.image.created"] != "2026-01-01T00:00:00Z" || c.Labels["org.opencontainers.image.version"] != "v1" {
		t.Errorf("config %+v", c)
	}
	if _, ok := cf.Config.ExposedPorts["8000/tcp"]; !ok {
		t.Errorf("ports %v", cf.Config.ExposedPorts)
	}
	if digestOf(img.Layers[0]) != digestOf(build(t, base).Layers[0]) {
		t.Error("the program's layer is another one")
	}
	if len(base.Layers) != 1 || len(base.Labels) != 2 || slices.Contains(base.Environment, "DOCKER_CONFIG=/etc/mmoci") {
		t.Errorf("the image of mmoci was changed: %+v", base)
	}
	if text := unsigned(t, base); strings.Contains(text, "trust") {
		t.Errorf("without keys: %s", text)
	}
}

func unsigned(t *testing.T, base Spec) string {
	m := mirror(t, pushed)
	m.Keys = nil
	files, _ := contents(t, read(t, build(t, Serving(base, m))))
	return files["etc/mmoci/mmoci.yaml"]
}

// Of a file of CA certificates no private key gets into an image, nor what stands beside.
func TestCertificates(t *testing.T) {
	block := func(kind, text string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: map[string]string{}, Bytes: []byte(text)}))
	}
	one, two := block("CERTIFICATE", "one"), block("CERTIFICATE", "two")
	file := "# of host.example.org\n" + one + block("PRIVATE KEY", "secret") + "\n" + two + block("EC PRIVATE KEY", "secret") + "rest"
	if got := string(Certificates([]byte(file))); got != one+two {
		t.Errorf("%s", got)
	}
	if got := Certificates([]byte("none")); len(got) > 0 {
		t.Errorf("%s", got)
	}
}

// TestPushServer: an image of each program, in one index; again nothing is sent,
// and of the next snapshot's image the small layer alone.
func TestPushServer(t *testing.T) {
	registry := testregistry.New(t, testregistry.Options{})
	dir := t.TempDir()
	o := ServerOptions{Version: "v1", Mirror: mirror(t, pushed)}
	var err error
	if o.To, err = artifact.ParseReference(registry.Host() + "/site/mirror-server:noble"); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "armhf"} {
		file := filepath.Join(dir, arch)
		data := []byte("program for " + arch)
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
		o.Programs = append(o.Programs, config.Bundled{Name: arch, File: file, Digest: snapshot.Sum(data).String()})
	}
	ref, err := PushServer(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_, index, ok := registry.Manifest("site/mirror-server", "noble")
	if !ok || snapshot.Sum(index) != ref.Digest {
		t.Fatalf("%s is not what the tag names", ref)
	}
	for _, want := range []string{`"platform":{"architecture":"amd64","os":"linux"}`, `"platform":{"architecture":"arm","os":"linux","variant":"v7"}`} {
		if !strings.Contains(string(index), want) {
			t.Errorf("no %s in %s", want, index)
		}
	}
	uploads := func() (n int) { // since it was last asked
		for _, r := range registry.Requests() {
			if r.Method == "POST" {
				n++
			}
		}
		return n
	}
	uploads()
	if again, err := PushServer(t.Context(), o); err != nil || again != ref {
		t.Errorf("again: %s, %v", again, err)
	}
	if n := uploads(); n != 0 {
		t.Errorf("again: %d blobs sent", n)
	}
	o.Mirror = mirror(t, strings.Replace(pushed, "e3b0", "0000", 1))
	if next, err := PushServer(t.Context(), o); err != nil || next == ref {
		t.Errorf("the next one: %s, %v", next, err)
	}
	if n := uploads(); n != 3 { // the layer is the same for both; two configurations
		t.Errorf("the next one: %d blobs sent", n)
	}
	if err := os.WriteFile(o.Programs[1].File, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := PushServer(t.Context(), o); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("a program that was exchanged: %v", err)
	}
	o.Programs = o.Programs[:1]
	registry.Fault(func(testregistry.Request, int) testarchive.Broken { return testarchive.Broken{Status: 403} })
	if _, err := PushServer(t.Context(), o); err == nil {
		t.Error("a registry that refuses is no error")
	}
}
