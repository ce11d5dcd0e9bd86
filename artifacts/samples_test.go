// Package artifacts holds what ships beside the program; its samples are loaded here.
package artifacts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/snapshot"
)

func TestConfiguration(t *testing.T) {
	plan, err := config.Load("mmoci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Archives) != 4 || len(plan.Packages) != 4 || plan.Serve.Policy != "policy.yaml" || len(plan.Serve.Listen) != 1 || plan.Sign == nil {
		t.Errorf("plan %+v", plan)
	}
}

// The configuration of the sample site repository; cmd/mmoci's script "samples" runs its jobs.
func TestSite(t *testing.T) {
	plan, err := config.Load("samples/site/mmoci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Archives) != 3 || plan.Sign != nil || len(plan.Trust) != 1 || filepath.Base(plan.Lock) != "mmoci.lock" || plan.Ref != "registry.example.org/site/mirror:main" {
		t.Errorf("plan %+v", plan)
	}
}

func TestPolicy(t *testing.T) {
	data, err := os.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("policy.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, version, source, archive, rule string
		allow                                bool
	}{
		{"telnet", "0.17", "netkit-telnet", "debian", "no-telnet", false},
		{"libssl3", "3.0.14-1~deb12u2", "openssl", "debian", "openssl-fixed", false},
		{"libssl3", "3.0.15-1~deb12u1", "openssl", "debian", "default", true},
		{"docker-ce", "5:28.5.2-1", "docker-ce", "docker", "docker-asked-for", true},
		{"bash-dbgsym", "5.2", "bash", "debian", "no-debug-symbols", false},
	} {
		d := p.Decide(snapshot.Package{Name: c.name, Version: c.version, Architecture: "amd64", Source: c.source}, c.archive)
		if d.Allow != c.allow || d.Rule != c.rule {
			t.Errorf("%s %s: %+v", c.name, c.version, d)
		}
	}
}

// TestMonitoring: every metric that alerts and dashboard ask for is one that the server has, by docs/monitoring.md, which
// is held to the program by a test of its own; every alert is in alerts_test.yaml.
func TestMonitoring(t *testing.T) {
	metric := regexp.MustCompile(`mmoci_[a-z_]+`)
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(mmoci_[a-z_]+)` \\| ([a-z]+)").FindAllStringSubmatch(read(t, "docs/monitoring.md"), -1) {
		known[row[1]] = true
		if row[2] == "histogram" {
			known[row[1]+"_bucket"] = true
		}
	}
	if len(known) < 20 {
		t.Fatalf("docs/monitoring.md has %d metrics", len(known))
	}
	alerts := read(t, "monitoring/alerts.yaml")
	for file, text := range map[string]string{"alerts.yaml": alerts, "dashboard.json": read(t, "monitoring/dashboard.json"), "alerts_test.yaml": read(t, "monitoring/alerts_test.yaml")} {
		for _, name := range metric.FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s asks for %s, which no server has", file, name)
			}
		}
	}
	if !json.Valid([]byte(read(t, "monitoring/dashboard.json"))) {
		t.Error("dashboard.json is no JSON")
	}
	for _, m := range regexp.MustCompile(`(?m)^  - alert: (\w+)$`).FindAllStringSubmatch(alerts, -1) {
		if !regexp.MustCompile(`alertname(=|: )"?` + m[1] + `\b`).MatchString(read(t, "monitoring/alerts_test.yaml")) {
			t.Errorf("no test expects %s", m[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
