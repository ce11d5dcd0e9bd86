// Package state finds and makes the directories of what outlives a command, and refuses
// files and directories that nobody named and that somebody else can write.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"example.org/mmoci/internal/outcome"
)

// Where root keeps what outlives a command. The server's directory belongs to the
// server's user, nobody, who must not be able to change what root believes, nor
// make names that root writes through.
const (
	serverState = "/var/lib/mmoci"
	hostState   = "/var/lib/mmoci-host"
)

// ServerDir makes the server's state directory: the one that is named, else the system's, or the user's.
func ServerDir(named string) (dir string, err error) {
	if dir = named; dir == "" {
		if dir, err = userState(serverState); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

// HostDir makes a directory for what commands remember of earlier ones.
func HostDir(name string) (string, error) {
	dir, err := userState(hostState)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	// Again, now that all of it is there: somebody else may have made it meanwhile.
	if base := os.Getenv("XDG_STATE_HOME"); base != "" {
		err = ownState(os.Geteuid(), filepath.Clean(base), dir)
	}
	return dir, err
}

// userState is below XDG_STATE_HOME, root's, or below the user's home.
func userState(root string) (string, error) {
	if x := os.Getenv("XDG_STATE_HOME"); x != "" {
		dir := filepath.Join(x, "mmoci")
		return dir, ownState(os.Geteuid(), filepath.Clean(x), dir)
	}
	if os.Getuid() == 0 {
		return root, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: no state directory: %w", outcome.ErrUsage, err)
	}
	return filepath.Join(home, ".local/state/mmoci"), nil
}

// ErrForeign marks a file or directory that nobody named and that somebody else
// can write. A configuration decides which keys are trusted and which commands
// run, a state directory what is believed of earlier runs; whoever can put one
// into the working directory would decide for us. Git calls this safe.directory.
var ErrForeign = fmt.Errorf("%w: refused", outcome.ErrUsage)

// ownedBy refuses a file or directory that others than uid or root own or may write.
func ownedBy(uid int, name string) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(st.Uid) != uid && st.Uid != 0:
		return fmt.Errorf("%w: %s belongs to user %d, and this runs as user %d", ErrForeign, name, st.Uid, uid)
	case fi.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%w: anybody can write %s", ErrForeign, name)
	}
	return nil
}

// OwnedHere refuses a file of the working directory that others than uid or root put
// there, or can. One with an absolute name is somewhere else, and passes.
func OwnedHere(uid int, file string) error {
	if filepath.IsAbs(file) {
		return nil
	}
	for _, name := range []string{".", file} {
		if err := ownedBy(uid, name); err != nil {
			return err
		}
	}
	return nil
}

// ownState refuses a state directory dir, in base, which the environment names,
// where others own or may write base or what is there of it below.
func ownState(uid int, base, dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		if err := ownedBy(uid, dir); errors.Is(err, ErrForeign) {
			return fmt.Errorf("%w: unset XDG_STATE_HOME, or let it name a directory of your own", err)
		}
		if dir == base || dir == filepath.Dir(dir) {
			return nil // what is missing or unreadable fails when it is made
		}
	}
}
