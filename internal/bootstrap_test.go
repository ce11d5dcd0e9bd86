package internal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bootstrap.sh finds the snapshot of the layout that it lies in, whatever images and signatures have entries before it.
func TestBootstrapFindsTheSnapshot(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../scripts/bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	var line string
	for l := range strings.Lines(string(script)) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "tag=$(tr ") {
			line = l
		}
	}
	hex := strings.Repeat("0a", 32)
	entry := func(annotations string) string {
		return `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + hex + `","size":7` + annotations + `}`
	}
	const name = `"org.opencontainers.image.ref.name":`
	image := entry(`,"annotations":{"io.containerd.image.name":"registry.example.org/app:1",` + name + `"app:1"}`)
	signature, sbom := entry(`,"annotations":{`+name+`"sha256-`+hex+`.sig"}`), entry("")
	day := entry(`,"annotations":{` + name + `"noble-20240502T030000Z-0a0a0a0a0a0a"}`)
	for _, entries := range [][]string{{day}, {day, image, sbom, signature}, {image, sbom, signature, day}, {signature, day}} {
		dir := t.TempDir()
		text := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(entries, ",") + `]}`
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", "-c", "layout=$1\n"+line+"\necho \"$tag\"", "sh", dir).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != "noble-20240502T030000Z-0a0a0a0a0a0a" {
			t.Errorf("%q, %v of %s", got, err, text)
		}
	}
}
