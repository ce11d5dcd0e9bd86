package mirrors

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// AptList is a list of mirrors for apt (apt-transport-mirror(1)) for the archive of a prefix: indices from the front itself, at direct;
// packages from mirrors that have an apt tree and are in use, then from where the front at base sends, and at the end from the front itself.
//
// apt 2.6 forgets the types for what it asked for while the list was under way, and takes the first line for everything; and it
// gives a file up when its next line is one that it tried, whatever comes behind. So the first line is the last one, too, and none between
// them: a line that sends elsewhere must not come twice.
func AptList(base, direct, prefix string, all []Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# For apt: deb [signed-by=..] mirror+%s/setup/%s.mirrors SUITE COMPONENT..
# Release files and indices come from this server. Packages come from mirrors; what a mirror has not, or a mirror that does
# not answer, makes apt go on to the next line.
# In /etc/apt/apt.conf.d: Acquire::Retries "0"; Acquire::http::Timeout "5"; else an apt before 3.0.3 may wait for ever for a mirror that died.
`, base, prefix)
	secure := strings.HasPrefix(base, "https:")
	var lines []string
	for _, m := range all {
		if m.Apt == "" || m.Fault != nil || m.strict || len(m.Prefixes) > 0 && !slices.Contains(m.Prefixes, prefix) || secure && m.URL.Scheme == "http" {
			continue
		}
		line := m.URL.String() + m.Apt + "/" + prefix + "/\tpriority:2 type:deb"
		for _, arch := range m.Architectures {
			line += " arch:" + arch
		}
		if len(m.Architectures) > 0 {
			line += " arch:all"
		}
		lines = append(lines, line)
	}
	if len(lines) > 0 {
		b.WriteString("# An apt before 2.9.14 does not go on from a mirror that has wrong bytes (Hash Sum mismatch): for such hosts leave apt: out\n" +
			"# of the mirrors, and this server sends them only to mirrors whose bytes it has seen.\n")
	}
	fmt.Fprintf(&b, "%s/%s/\tpriority:1 type:index\n", direct, prefix)
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%s/%s/\tpriority:3\n%s/%s/\tpriority:4\n", base, prefix, direct, prefix)
	return b.String()
}

// ContainerdHosts is a hosts.toml for containerd (hosts.md of its documentation), the same for every registry whose images are
// served: containerd says in ?ns= which it means.
func ContainerdHosts(base string, all []Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# For containerd: /etc/containerd/certs.d/REGISTRY/hosts.toml, for each REGISTRY whose images this server has.
# Names and manifests come from this server, which sends to mirrors for the rest. Should it be away, mirrors are asked by digest.
[host.%q]
  capabilities = ["pull", "resolve"]
`, base+v2Of(base))
	if v2Of(base) != "" {
		b.WriteString("  override_path = true\n")
	}
	for _, m := range all {
		if m.Fault != nil || m.Registry != "" {
			continue
		}
		fmt.Fprintf(&b, "[host.%q]\n  capabilities = [\"pull\"]\n  dial_timeout = \"1s\"\n", strings.TrimSuffix(m.URL.String(), "/")+v2Of(m.URL.String()))
		if v2Of(m.URL.String()) != "" {
			b.WriteString("  override_path = true\n")
		}
	}
	return b.String()
}

// v2Of is "/v2" for a URL that has a path: containerd then takes its path for the registry's own.
func v2Of(base string) string {
	if u, err := url.Parse(base); err == nil && strings.Trim(u.Path, "/") != "" {
		return "/v2"
	}
	return ""
}

// RegistriesConf is a part of containers-registries.conf(5) for podman, CRI-O and skopeo: the front, and then mirrors by digest,
// for the registries whose images are served.
func RegistriesConf(base string, registries []string, all []Status) string {
	var b strings.Builder
	b.WriteString(`# For podman, CRI-O, skopeo and buildah: /etc/containers/registries.conf.d/mmoci.conf
# Names and manifests come from this server, which sends to mirrors for the rest. Should it be away, mirrors are asked by digest.
# Then the registry itself is asked; blocked = true in its section keeps that from happening.
`)
	for _, registry := range registries {
		fmt.Fprintf(&b, "\n[[registry]]\nprefix = %q\nlocation = %q\n", registry, registry)
		mirror := func(u string, byDigest bool) {
			at, err := url.Parse(u)
			if err != nil || strings.Trim(at.Path, "/") != "" { // podman knows hosts alone
				return
			}
			location := at.Host
			if !strings.Contains(registry, ":") { // which no name of a repository has
				location += "/" + registry
			}
			fmt.Fprintf(&b, "[[registry.mirror]]\nlocation = %q\n", location)
			if at.Scheme == "http" {
				b.WriteString("insecure = true\n")
			}
			if byDigest {
				b.WriteString("pull-from-mirror = \"digest-only\"\n")
			}
		}
		mirror(base, false)
		for _, m := range all {
			if m.Fault == nil && m.Registry == "" {
				mirror(m.URL.String(), true)
			}
		}
	}
	return b.String()
}
