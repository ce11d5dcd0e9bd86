// Package imageplan reads what a container image is to be made of, image.yaml and the list form container.yaml,
// into one Plan. What cannot be honoured is refused all at once, each thing with file, line and what to write instead.
package imageplan

import (
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
)

// The names of a plan's file: the first that is there is read of a directory.
const (
	Name     = "image.yaml"
	ListName = "container.yaml"
)

// Plan is what an image is made of. It is not changed after it was read.
type Plan struct {
	File string // where it was read
	Dir  string // what relative paths in it are relative to

	Name    string // of the image; "": none is told
	Version string // what it says of itself; "": nothing
	Author  string
	Ref     string   // HOST/REPO where it goes by default; "": the command says
	Tags    []string // there
	From    string   // the snapshot's reference, as written; "": that of mmoci.yaml

	Architectures []string       // Debian's names; none: the machine's
	Packages      []config.Query // asked for; the closure follows from them
	Embedded      []Embedded     // built of sources that lie beside the plan, and asked for, too
	Essential     bool           // take what is Essential, too
	Exclude       []string       // docs, locales, man, or patterns
	Scripts       string         // run, none, or "": as the architecture allows
	ScriptsFor    []ScriptsFor   // by package, sorted

	Users  []User
	Sync   []Sync
	Config Config
	Layers Layers

	// Discover and PushTo are places of builds that the file beside a container.yaml names; they are of no image.
	Discover []string
	PushTo   string
}

// Embedded is a package that is built of a source: the directory with its pkg.yaml, below the plan's.
type Embedded struct {
	Path  string   // slash-separated, clean, relative to Plan.Dir
	Names []string // which of the packages that are built; none: the one that is called as the source is
	At    document.Position
}

// String is the entry as Format writes it.
func (e *Embedded) String() string {
	if len(e.Names) == 0 {
		return "{path: " + jsonOf(e.Path) + "}"
	}
	return "{path: " + jsonOf(e.Path) + ", name: " + jsonOf(e.Names) + "}"
}

// The values of Plan.Scripts, and of ScriptsFor.
const (
	Run  = "run"
	None = "none"
	Skip = "skip"
)

// ScriptsFor says what is done with the maintainer scripts of one package.
type ScriptsFor struct {
	Package string
	What    string // Run or Skip
	At      document.Position
}

// User is an account that the image has beside those of its packages, with a group of its name.
type User struct {
	Name        string
	UID, GID    int
	Home, Shell string
	At          document.Position
}

// Sync is a file, or a tree of them, that the image has beside those of its packages.
type Sync struct {
	Src       string // as written, relative to Plan.Dir
	Dest      string // absolute and clean; with Into the directory that the file goes into under its own name
	Into      bool
	Recursive bool
	Mode      int64 // -1: 0755 for what its owner may execute and for directories, else 0644
	UID, GID  int
	At        document.Position
}

// Config is what whoever runs the image is told (image-spec, config.md).
type Config struct {
	Entrypoint []string
	Command    []string
	User       string
	WorkDir    string
	Env        []string // NAME=VALUE, sorted by name
	Ports      []string // 80/tcp, sorted
	Volumes    []string // sorted
	StopSignal string
	Labels     map[string]string
}

// Layers say how the image is cut and packed.
type Layers struct {
	Max         int // at most, all together
	Compression string
}

// The values of Layers.Compression.
const (
	Gzip         = "gzip"
	Zstd         = "zstd"
	Uncompressed = "none"
)

// Limits of Layers.Max. Docker's overlay driver stops at 125 layers, so a Dockerfile that goes on from the image has room;
// below MinLayers there would be none for packages beside skeleton, system and files.
const (
	DefaultLayers = 100
	MaxLayers     = 120
	MinLayers     = 4
)
