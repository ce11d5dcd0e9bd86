// Package artifacts holds what ships beside the program; its samples are loaded here.
package artifacts

import (
	"os"
	"path/filepath"
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
