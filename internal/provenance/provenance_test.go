package provenance

import (
	"encoding/json"
	"reflect"
	"testing"

	"example.org/mmoci/internal/config/imageplan"
)

// Every key that a plan has comes through as it is written, in whatever form.
func TestPlan(t *testing.T) {
	p, err := imageplan.Parse("image.yaml", ".", []byte(`name: web
version: "1"
arch: [amd64, arm64]
packages: [web, "libssl3 (>= 3)"]
essential: yes
exclude: [docs, "usr/share/x:y/*"]
scripts: run
scripts-for: {iproute2: skip}
users: [{name: web, uid: 10001}]
sync: [{src: www, dest: /srv, recursive: yes, mode: "0644"}]
config: {entrypoint: [/bin/web, "a \"b\"\tc", "1"], env: {A: "b: c", B: "yes"}, expose: [80]}
layers: {max: 40, compression: zstd}
`))
	if err != nil {
		t.Fatal(err)
	}
	data, err := Statement(&Build{Plan: p.Format()})
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Predicate struct {
			BuildDefinition struct {
				ExternalParameters struct{ Plan map[string]any }
			}
		}
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	got := s.Predicate.BuildDefinition.ExternalParameters.Plan
	for key, want := range map[string]any{
		"name": "web", "version": "1", "arch": []any{"amd64", "arm64"}, "packages": []any{"web", "libssl3 (>= 3)"}, "exclude": []any{"docs", "usr/share/x:y/*"},
		"scripts": "run", "scripts-for": map[string]any{"iproute2": "skip"}, "layers": map[string]any{"max": 40.0, "compression": "zstd"},
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s is %#v, want %#v", key, got[key], want)
		}
	}
	config := got["config"].(map[string]any)
	if want := []any{"/bin/web", "a \"b\"\tc", "1"}; !reflect.DeepEqual(config["entrypoint"], want) || !reflect.DeepEqual(config["env"], map[string]any{"A": "b: c", "B": "yes"}) {
		t.Errorf("config %#v", config)
	}
	if _, err := Statement(&Build{Plan: []byte("a: [")}); err == nil {
		t.Error("a plan that is none is taken")
	}
}
