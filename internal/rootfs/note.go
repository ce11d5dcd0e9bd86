package rootfs

import (
	"archive/tar"
	"io"
	"strings"
	"time"

	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// Deb is a .deb to be read: its digest and size, and how it is opened. What Open
// gives must be verified: its last byte comes only if all are those of the blob.
type Deb struct {
	Blob snapshot.Blob
	Open func() (io.ReadCloser, error)
}

// Entry is one entry of a layer.
type Entry struct {
	Path     string // usr/bin/x, without leading or closing slash
	Type     byte   // tar.TypeReg, TypeLink, TypeSymlink, TypeDir or TypeFifo
	Mode     int64  // permission bits, setuid, setgid and sticky among them; 0777 of a symlink
	UID, GID int
	Link     string          // target of a symlink as it stands; path of a hard link's first name
	Size     int64           // of a regular file's content, bytes
	ModTime  int64           // seconds since 1970
	Digest   snapshot.Digest // of a regular file's content
	Made     bool            // made by the recipe: data.tar has no such entry
}

// Note is all that is known of a package layer without the .deb. It is derived
// from the .deb alone, and immutable.
type Note struct {
	Deb       snapshot.Blob
	Recipe    Recipe
	Layer     snapshot.Blob // the tar: its digest is the layer's diffID
	Stanza    deb.Stanza    // the control file of the .deb
	Status    deb.Stanza    // the stanza in dpkg's status
	Entries   []Entry       // in the order of the layer
	Names     []string      // what data.tar has, in dpkg's order: paths before merging, excluded ones among them, "." for the root
	Sums      []byte        // md5sums that the recipe made; nil if the package has its own
	Conffiles []Conffile    // in the order of the package's list
	Scripts   []Script      // in the order of [scriptNames]
	Triggers  []Trigger     // in the order of the package's triggers file
	Libraries []Library     // shared libraries among the entries, in their order
	Kept      []KeptFile    // small files that fix-ups and inventories read, in the order of the entries
}

// Name, Version and Architecture of the package.
func (n *Note) Name() string         { return n.Stanza.Get("Package") }
func (n *Note) Version() string      { return n.Stanza.Get("Version") }
func (n *Note) Architecture() string { return n.Stanza.Get("Architecture") }

// String is NAME VERSION ARCHITECTURE.
func (n *Note) String() string { return n.Name() + " " + n.Version() + " " + n.Architecture() }

// Time is when the package was made: that of its control file.
func (n *Note) Time() time.Time {
	if e := n.Find(StatusPath); e != nil {
		return time.Unix(e.ModTime, 0)
	}
	return time.Unix(0, 0)
}

// InfoName is what the names of the package's files in var/lib/dpkg/info begin
// with: NAME, or NAME:ARCH if it is Multi-Arch: same (dpkg, pkg_infodb_get_file).
func (n *Note) InfoName() string { return infoName(n.Stanza) }

func infoName(s deb.Stanza) string {
	name := strings.ToLower(s.Get("Package"))
	if strings.EqualFold(s.Get("Multi-Arch"), "same") {
		return name + ":" + s.Get("Architecture")
	}
	return name
}

// Conffile is a configuration file in dpkg's sense.
type Conffile struct {
	Path            string // etc/x, as the package names it
	MD5             string // of its content in hex; "" if data.tar has none
	RemoveOnUpgrade bool
	Obsolete        bool // it is another package's now
}

// Script is a maintainer script.
type Script struct {
	Name   string // preinst, postinst, prerm, postrm or config
	Digest snapshot.Digest
	Size   int64
	// Own tells whether it has code beside the blocks that debhelper put in,
	// comments, set -e and exit 0.
	Own bool
	// NoOp tells that by its text it does nothing in a new root, whoever wrote it
	// ([account.IsNoOp]).
	NoOp bool
	// Tools are the debhelper programs whose blocks it has, each once, in order.
	Tools []string
}

// Trigger is a line of a package's triggers file.
type Trigger struct {
	Directive string // interest, interest-await, interest-noawait, activate, ..
	Name      string // of the trigger: a word, or a path with a leading slash
}

// KeptFile is a file whose content the note keeps.
type KeptFile struct {
	Path string
	Data []byte
}

// Find returns the entry at path, hard links resolved to their first name's
// content, or nil. It is slow; who needs many makes a map.
func (n *Note) Find(path string) *Entry {
	for i := range n.Entries {
		if n.Entries[i].Path == path {
			return &n.Entries[i]
		}
	}
	return nil
}

// IsDir tells a directory.
func (e *Entry) IsDir() bool { return e.Type == tar.TypeDir }
