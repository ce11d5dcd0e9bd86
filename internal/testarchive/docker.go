package testarchive

import "time"

// DockerKey signs Docker().
func DockerKey() *Key { return NewKey("Docker Release test key") }

// DebianKey signs Debian() and Security().
func DebianKey() *Key { return NewKey("Debian Archive test key") }

// SiteKey is the site's.
func SiteKey() *Key { return NewKey("Site test key") }

// Docker is a small archive like docker's own: docker-ce, docker-ce-cli,
// containerd.io in component stable, suite bookworm, needing libc6, libseccomp2, iptables from
// Debian(). As at the real one, pool files lie below dists/bookworm/pool/,
// indices exist plain and as gz without by-hash, and older versions stay in the index.
func Docker() Archive {
	return Archive{
		Keys: []*Key{DockerKey()},
		Suites: []Suite{{
			Dir: "bookworm", Origin: "Docker", Label: "Docker CE",
			Date:       time.Date(2026, 1, 9, 14, 30, 0, 0, time.UTC),
			Components: []string{"stable"}, Compressions: []string{"gz", "plain"},
			Pool:     "dists/bookworm/pool",
			Packages: dockerPackages(),
		}},
	}
}

func dockerPackages() []Package {
	ce := func(version string, fields ...[2]string) Package {
		return Package{
			Name: "docker-ce", Version: version, Architecture: "amd64", Component: "stable",
			Fields: append([][2]string{
				{"Depends", "containerd.io (>= 1.7.27), docker-ce-cli, iptables | nftables, libc6 (>= 2.34), libsystemd0"},
				{"Recommends", "docker-ce-rootless-extras, git, xz-utils"},
				{"Suggests", "cgroupfs-mount | cgroup-lite"},
				{"Conflicts", "docker (<< 1.5~), docker-engine, docker.io"},
				{"Replaces", "docker-engine"},
				{"Section", "admin"},
				{"Homepage", "https://www.docker.com"},
				{"Description", "Docker: the open-source application container engine\n A test package that has its name.\n .\n It runs nothing."},
			}, fields...),
			Content: map[string]string{
				"usr/bin/dockerd":                     "#!/bin/sh\necho dockerd " + version + "\n",
				"etc/default/docker":                  "# Test defaults.\nDOCKER_OPTS=\n",
				"lib/systemd/system/docker.service":   "[Service]\nExecStart=/usr/bin/dockerd\n",
				"usr/share/doc/docker-ce/README.md":   "docker-ce " + version + "\n",
				"usr/libexec/docker/cli-plugins/ping": "#!/bin/sh\necho pong\n",
			},
			ControlFiles: map[string]string{
				"conffiles": "/etc/default/docker\n",
				"postinst":  "#!/bin/sh\nset -e\n[ \"$1\" = configure ] && echo docker-ce is configured\nexit 0\n",
				"prerm":     "#!/bin/sh\nexit 0\n",
			},
		}
	}
	cli := func(version string) Package {
		return Package{
			Name: "docker-ce-cli", Version: version, Architecture: "amd64", Component: "stable",
			Fields: [][2]string{
				{"Depends", "libc6 (>= 2.34)"},
				{"Conflicts", "docker (<< 1.5~)"},
				{"Breaks", "docker-ce (<< 5:0)"},
				{"Section", "admin"},
				{"Description", "Docker CLI: the open-source application container engine\n A test package that has its name."},
			},
			Content: map[string]string{"usr/bin/docker": "#!/bin/sh\necho Docker version " + version + ", a test\n"},
		}
	}
	containerd := func(version string) Package {
		return Package{
			Name: "containerd.io", Version: version, Architecture: "amd64", Component: "stable",
			Fields: [][2]string{
				{"Provides", "containerd, runc"},
				{"Depends", "libc6 (>= 2.34), libseccomp2 (>= 2.5.0)"},
				{"Conflicts", "containerd, runc"},
				{"Replaces", "containerd, runc"},
				{"Section", "devel"},
				{"Description", "An open and reliable container runtime\n A test package that has its name."},
			},
			Content: map[string]string{"usr/bin/containerd": "#!/bin/sh\necho containerd " + version + "\n"},
			ControlFiles: map[string]string{
				"postinst": "#!/bin/sh\nset -e\nexit 0\n",
			},
		}
	}
	return []Package{
		containerd("1.7.28-1~debian.12~bookworm"),
		containerd("1.7.29-1~debian.12~bookworm"),
		ce("5:28.5.1-1~debian.12~bookworm"),
		ce("5:28.5.2-1~debian.12~bookworm"),
		cli("5:28.5.1-1~debian.12~bookworm"),
		cli("5:28.5.2-1~debian.12~bookworm"),
	}
}
