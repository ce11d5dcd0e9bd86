package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
)

// Where root keeps what outlives a command. The server's directory belongs to the
// server's user, nobody, who must not be able to change what root believes, nor
// make names that root writes through.
const (
	serverState = "/var/lib/mmoci"
	hostState   = "/var/lib/mmoci-host"
)

// stateDir makes the server's state directory: asked for, configured, the system's, or the user's.
func stateDir(flag string, plan *config.Plan) (string, error) {
	if flag == "" && plan != nil {
		flag = plan.Serve.State
	}
	if flag == "" {
		var err error
		if flag, err = userState(serverState); err != nil {
			return "", fmt.Errorf("%w (or --state DIR)", err)
		}
	}
	if err := os.MkdirAll(flag, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w (--state DIR)", err)
	}
	return flag, nil
}

// memoryDir makes a directory for what commands remember of earlier ones.
func memoryDir(name string) (string, error) {
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

// errForeign marks a file or directory that nobody named and that somebody else
// can write. A configuration decides which keys are trusted and which commands
// run, a state directory what is believed of earlier runs; whoever can put one
// into the working directory would decide for us. Git calls this safe.directory.
var errForeign = fmt.Errorf("%w: refused", outcome.ErrUsage)

// ownedBy refuses a file or directory that others than uid or root own or may write.
func ownedBy(uid int, name string) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(st.Uid) != uid && st.Uid != 0:
		return fmt.Errorf("%w: %s belongs to user %d, and this runs as user %d", errForeign, name, st.Uid, uid)
	case fi.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%w: anybody can write %s", errForeign, name)
	}
	return nil
}

// ownConfig refuses the configuration of the working directory if others put it
// there, or can.
func ownConfig(uid int, file string) error {
	if filepath.IsAbs(file) { // that of /etc
		return nil
	}
	if err := ownedHere(uid, file); err != nil {
		return fmt.Errorf("%w: the mmoci.yaml of this directory is not taken without being named; -f %s takes it, if you know whose it is", err, file)
	}
	return nil
}

// ownedHere is ownedBy for the working directory and for a file in it.
func ownedHere(uid int, file string) error {
	for _, name := range []string{".", file} {
		if err := ownedBy(uid, name); err != nil {
			return err
		}
	}
	return nil
}

// networkKeys opens the pins of keys that come from the network. Those of the working directory that nobody
// named are refused where others put them there, or may: they decide which key passes, and count more than a lock's.
func networkKeys(p *planFlags, plan *config.Plan, lock *config.Lock, accept []string) (*signer.NetworkKeys, error) {
	file := plan.KeyPinsPath()
	fetched := slices.ContainsFunc(plan.Archives, func(a config.Archive) bool { return a.SignedByURL != "" })
	if fetched && p.file == "" && filepath.Dir(file) == "." {
		if err := ownedHere(os.Geteuid(), file); errors.Is(err, errForeign) {
			return nil, fmt.Errorf("%w: the %s of this directory pins keys from the network; go to a directory of your own, or name the configuration beside it by -f", err, file)
		}
	}
	return signer.OpenNetworkKeys(file, lock, accept)
}

// ownState refuses a state directory dir, in base, which the environment names,
// where others own or may write base or what is there of it below.
func ownState(uid int, base, dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		if err := ownedBy(uid, dir); errors.Is(err, errForeign) {
			return fmt.Errorf("%w: unset XDG_STATE_HOME, or let it name a directory of your own", err)
		}
		if dir == base || dir == filepath.Dir(dir) {
			return nil // what is missing or unreadable fails when it is made
		}
	}
}
