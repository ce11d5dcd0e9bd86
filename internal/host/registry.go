package host

import (
	"fmt"
	"net/url"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/snapshot"
)

// Where containerd and podman learn of other places for a registry's images: containerd's docs/hosts.md, with
// config_path at certsDir, and containers-registries.conf(5).
const (
	certsDir       = "etc/containerd/certs.d"
	registriesFile = "etc/containers/registries.conf.d/mmoci.conf"
)

// UseRegistry lets containerd and podman ask the registry at base first for images of the hosts that images are
// named by. It returns the paths that changed; called again with the same it changes nothing.
func (h *Host) UseRegistry(base string, images []snapshot.Image) ([]string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil || strings.ContainsAny(u.Host, `"\ `) {
		return nil, fmt.Errorf("%w: registry %q is no http(s) URL of a host", outcome.ErrUsage, base)
	}
	files := map[string][]byte{}
	var conf strings.Builder
	conf.WriteString(writtenByImages)
	for _, im := range images { // in order of name
		host, _, _, ok := snapshot.CutImageName(im.Name)
		name := certsDir + "/" + host + "/hosts.toml"
		if files[name] != nil || !ok {
			continue
		}
		server := host
		if host == "docker.io" {
			server = "registry-1.docker.io" // by which docker.io is reached
		}
		files[name] = fmt.Appendf(nil, "%sserver = \"https://%s\"\n\n[host.\"%s://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", writtenByImages, server, u.Scheme, u.Host)
		fmt.Fprintf(&conf, "\n[[registry]]\nprefix = \"%s\"\nlocation = \"%s\"\n[[registry.mirror]]\nlocation = \"%s\"\ninsecure = %t\n", host, host, u.Host, u.Scheme == "http")
	}
	files[registriesFile] = []byte(conf.String())
	return h.put(registryFiles, files, nil, putOptions{})
}

const writtenByImages = "# Written by mmoci host images; mmoci host undo removes it.\n"
