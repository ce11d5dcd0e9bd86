package web

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"path"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// An RPM repository is given to hosts by two texts: PREFIX.repo for /etc/yum.repos.d, and the metalink that this names. dnf reads
// repomd.xml and then its signature; by a name that moves, the two may be of different snapshots. The metalink names one snapshot,
// by its ID and the digest of its repomd.xml, so all that dnf reads after it is of that one.

// repoPath is where a host has the .repo of an archive.
func repoPath(prefix string) string { return "etc/yum.repos.d/mmoci-" + prefix + ".repo" }

// rpmText is the text NAME.repo or NAME.metalink below /setup/; ok if it is of that form and NAME is an RPM repository.
func (v View) rpmText(name string) (text []byte, prefix, of string, ok bool) {
	prefix, isRepo := strings.CutSuffix(name, ".repo")
	if !isRepo {
		var isLink bool
		if prefix, isLink = strings.CutSuffix(name, ".metalink"); !isLink {
			return nil, "", "", false
		}
	}
	s, a := v.Find(prefix)
	if a == nil || a.Format != snapshot.FormatRPM {
		return nil, prefix, "", true
	}
	if isRepo {
		return v.repo(s, a), prefix, s.Name, true
	}
	return v.metalink(s, a), prefix, s.Name, true
}

// repo is what dnf is told of a repository (dnf.conf(5)).
func (v View) repo(s Snapshot, a *snapshot.Archive) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s of snapshot %s\n", a.Prefix, s.Name)
	key, at := v.key(a, false), v.Base+"/setup/keys/"+a.Prefix+".asc"
	whose, compare := "Upstream's key", "with what upstream publishes"
	if a.Mode == snapshot.Curated {
		at, whose, compare = v.Base+"/setup/site.asc", "The site's key", "with what mmoci key show says at the site"
	}
	metadata, packages := a.Class == snapshot.Upstream || a.Mode == snapshot.Curated && s.Signed, a.Mode == snapshot.Verbatim
	switch {
	case !metadata && packages:
		b.WriteString("# Nobody signs its metadata: this server says which packages there are. Packages are checked by the key that signs them;\n# name it: gpgkey=\n")
	case !metadata:
		b.WriteString("# Nobody signs it: this server says what it holds.\n")
	case len(key.Armor) == 0:
		fmt.Fprintf(&b, "# This server was not told %s. Name its file: gpgkey=\n", strings.ToLower(whose[:1])+whose[1:])
	default:
		fmt.Fprintf(&b, "# %s; compare its fingerprint %s when dnf asks:\n# %s\n", whose, compare, strings.Join(key.Fingerprints, "\n# "))
	}
	if metadata && !packages {
		b.WriteString("# Each package is held against its checksum in the signed metadata.\n")
	}
	fmt.Fprintf(&b, "[mmoci-%s]\nname=%s\n", a.Prefix, a.Prefix)
	if v.Fixed {
		fmt.Fprintf(&b, "baseurl=%s/%s/\n", v.Base, a.Prefix)
	} else {
		fmt.Fprintf(&b, "metalink=%s/setup/%s.metalink\nmetadata_expire=1h\n", v.Base, a.Prefix)
	}
	fmt.Fprintf(&b, "enabled=1\ngpgcheck=%d\nrepo_gpgcheck=%d\n", number(packages), number(metadata))
	if metadata && len(key.Armor) > 0 {
		fmt.Fprintf(&b, "gpgkey=%s\n", at)
	}
	return []byte(b.String())
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// metalink names the repomd.xml of one snapshot (version 3, as librepo reads it).
func (v View) metalink(s Snapshot, a *snapshot.Archive) []byte {
	file := repomdOf(a)
	if file == nil {
		return nil
	}
	at := v.Base
	if !v.Fixed {
		at += "/snapshot/" + s.Name
	}
	scheme, _, _ := strings.Cut(v.Base, "://")
	var url bytes.Buffer
	_ = xml.EscapeText(&url, []byte(at+"/"+file.Path)) // a buffer takes all
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files>
  <file name="%s">
   <mm0:timestamp>%d</mm0:timestamp>
   <size>%d</size>
   <verification>
    <hash type="sha256">%s</hash>
   </verification>
   <resources maxconnections="1">
    <url protocol="%s" type="%s" preference="100">%s</url>
   </resources>
  </file>
 </files>
</metalink>
`, path.Base(file.Path), file.Date.Unix(), file.Size, file.Digest.Hex(), scheme, scheme, url.Bytes())
}

// repomdOf is the repomd.xml of an RPM repository; nil if it has none.
func repomdOf(a *snapshot.Archive) *snapshot.SuiteFile {
	for _, suite := range a.Suites {
		for i := range suite.Files {
			if suite.Files[i].Role == snapshot.Repomd {
				return &suite.Files[i]
			}
		}
	}
	return nil
}

// setupRPM is an RPM repository as the setup page has it. at is the URL of the texts.
func (v View) setupRPM(s Snapshot, a *snapshot.Archive, at string) setupArchive {
	file, name := "/"+repoPath(a.Prefix), a.Prefix+".repo"
	out := setupArchive{Prefix: a.Prefix, Suites: "RPM", Whose: "upstream's key", Fingerprints: v.key(a, false).Fingerprints, Files: []string{file}}
	if a.Mode == snapshot.Curated {
		out.Whose = "the site's key"
	}
	out.Paste = "cat >" + file + " <<'" + endMark + "'\n" + string(v.repo(s, a)) + endMark + "\ndnf makecache\n"
	out.Undo = "rm -f " + file + " && dnf clean all"
	out.Texts = []linked{{name, at + name}}
	return out
}
