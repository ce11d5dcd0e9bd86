package web

import (
	"strings"

	"example.org/mmoci/internal/sources"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/snapshot"
)

// setupText is a text for hosts: what it changes, and how that is undone.
type setupText struct{ Name, Href, Changes, Undo string }

// setupArchive is an archive as a host takes it.
type setupArchive struct {
	Prefix, Suites, Whose string
	Fingerprints          []string
	Files                 []string // that a host gets
	Paste, Undo           string
	Texts                 []linked
}

// SetupPage says of each text for hosts what it changes, how to undo it, and which fingerprint to compare.
func (p *Pages) SetupPage(v View) ([]byte, error) {
	data := struct {
		shell
		Of, Host string
		SiteKeys []string
		Archives []setupArchive
		Policy   *setupText
		Recipes  []setupText
		Mirrors  []setupText
	}{shell: v.shell("setup"), SiteKeys: v.Key.Fingerprints}
	_, data.Host, _ = strings.Cut(v.Base, "://")
	at := v.Root + "setup/"
	if v.Fixed {
		data.Of, at = v.Snapshots[0].Name, v.within(v.Snapshots[0])+"setup/"
	}
	var all []string
	for _, a := range v.archives() {
		if s, a := v.Find(a.Prefix); a.Format == snapshot.FormatRPM {
			data.Archives = append(data.Archives, v.setupRPM(s, a, at))
			continue
		}
		of := v.sources(a.Prefix, false, true)
		if len(of.stanzas) == 0 {
			continue
		}
		s := setupArchive{Prefix: a.Prefix, Whose: "upstream's key", Fingerprints: of.key.Fingerprints, Files: []string{"/" + sources.File(a.Prefix)}}
		if a.Mode == snapshot.Curated {
			s.Whose = "the site's key"
		}
		var suites []string
		for _, suite := range a.Suites {
			suites = append(suites, suite.Name)
		}
		s.Suites = strings.Join(suites, ", ")
		if of.keyFile != "" {
			s.Files = append(s.Files, "/"+of.keyFile)
			s.Paste = "mkdir -p /etc/apt/keyrings\ncat >/" + of.keyFile + " <<'" + endMark + "'\n" + string(of.key.Armor) + endMark + "\n"
		}
		s.Paste += "cat >" + s.Files[0] + " <<'" + endMark + "'\n" + archive.Format(of.stanzas) + endMark + "\napt-get update\n"
		s.Undo = "rm -f " + strings.Join(s.Files, " ") + " && apt-get update"
		s.Texts = append(s.Texts, linked{a.Prefix + ".sources", at + a.Prefix + ".sources"})
		if a.Mode == snapshot.Curated && a.Class == snapshot.Upstream {
			s.Texts = append(s.Texts, linked{a.Prefix + "-upstream.sources", at + a.Prefix + "-upstream.sources"})
		}
		all = append(all, s.Files...)
		data.Archives = append(data.Archives, s)
	}
	if len(v.Mirrors) > 0 {
		all = append(all, retriesFile.Path)
	}
	if v.Policy != nil {
		const file = "/etc/apt/preferences.d/mmoci.pref"
		data.Policy = &setupText{"policy.pref", at + "policy.pref", "Written to " + file + ", it has apt pass over what the rules of this server deny.", "rm -f " + file}
		if !v.LogOnly {
			all = append(all, file)
		}
	}
	for _, name := range Recipes() {
		text := effects[name]
		text.Name, text.Href = name, at+name
		text.Changes = strings.ReplaceAll(text.Changes, "FILES", strings.Join(all, ", "))
		text.Undo = strings.ReplaceAll(text.Undo, "FILES", strings.Join(all, " "))
		data.Recipes = append(data.Recipes, text)
	}
	for _, name := range v.Mirrors {
		text := effects[name]
		if prefix, ok := strings.CutSuffix(name, MirrorList); ok {
			file, url := "/"+sources.File(prefix), v.Base+"/"+prefix
			text = setupText{
				Changes: "In " + file + ", as URIs: mirror+" + v.Base + "/setup/" + name + ", it has apt take packages from the mirrors, and from this server what they do not have.",
				Undo:    "sed -i 's|^URIs: .*|URIs: " + url + "|' " + file,
			}
		}
		text.Name, text.Href = name, at+name
		data.Mirrors = append(data.Mirrors, text)
	}
	return p.html("setup", data)
}

// effects are what recipes and lists of mirrors change, and how that is undone. FILES are those that a host gets.
var effects = map[string]setupText{
	"cloud-init.yaml": {
		Changes: "On a host's first boot: takes the image's debian.sources and ubuntu.sources away, empties sources.list, writes FILES.",
		Undo:    "Take it out of the user data. On a host that booted with it: rm -f FILES, and the sources that it had before back.",
	},
	"autoinstall.yaml": {
		Changes: "In the system that Ubuntu's installer made: takes sources.list and ubuntu.sources away, writes FILES.",
		Undo:    "Take it out of the autoinstall file. On an installed host: rm -f FILES, and ubuntu.sources back.",
	},
	"maas.sh": {
		Changes: "In MAAS: makes a package repository of each archive, which the machines that it deploys from then on get.",
		Undo:    "maas PROFILE package-repositories read tells their numbers, maas PROFILE package-repository delete NUMBER removes one.",
	},
	"Dockerfile": {
		Changes: "In a new image: takes all sources of the base image away, writes FILES. The base image and this machine stay as they are.",
		Undo:    "Remove the image.",
	},
	"mmdebstrap.sh": {
		Changes: "Makes a new root in a directory, ./root by default, whose only sources are these. Nothing else on this machine changes.",
		Undo:    "Remove the directory.",
	},
	"ansible.yaml": {
		Changes: "On each host of the play: writes FILES. Other sources stay.",
		Undo:    "On each host: rm -f FILES && apt-get update",
	},
	"promenade.yaml": {
		Changes: "A HostSystem document: repositories, keys and container runtime of the hosts that Promenade makes from then on.",
		Undo:    "Take the document out, and generate the hosts' scripts again.",
	},
	"divingbell.yaml": {
		Changes: "Values of Divingbell's chart: on each node it writes these repositories and installs the packages that are listed.",
		Undo:    "Take the values out and upgrade the release; packages that were installed stay.",
	},
	"armada.yaml": {
		Changes: "A release of mmoci's chart, in its namespace mmoci: it serves the same in a cluster. No host changes.",
		Undo:    "helm uninstall mmoci -n mmoci",
	},
	HostsToml: {
		Changes: "Written to /etc/containerd/certs.d/REGISTRY/hosts.toml, of each REGISTRY that is to come from here: containerd pulls its images from the mirrors and from this server.",
		Undo:    "rm /etc/containerd/certs.d/REGISTRY/hosts.toml",
	},
	RegistriesConf: {
		Changes: "Written to /etc/containers/registries.conf.d/mmoci.conf: podman, CRI-O, skopeo and buildah take images that are named by digest from the mirrors and from this server.",
		Undo:    "rm /etc/containers/registries.conf.d/mmoci.conf",
	},
}
