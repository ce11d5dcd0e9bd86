package fixup

// Names of the fix-ups, as the account has them.
const (
	NameLinker       = "ld.so.cache"
	NameUsers        = "base-passwd"
	NameCertificates = "ca-certificates"
	NameRelease      = "os-release"
)

// Fix is what a fix-up makes.
type Fix struct {
	Name  string
	Files []File   // in the order of their paths
	Gone  []string // paths that are removed
	// Says is the account's line: what was made, of what, in place of which script.
	Says string
}

// File is a file or, if Target is set, a symlink. Parents are not among them.
type File struct {
	Path     string
	Mode     int64 // of a file
	UID, GID int
	Data     []byte
	Target   string
}
