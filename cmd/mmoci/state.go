package main

import (
	"fmt"
	"os"
	"path/filepath"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
)

// Where root keeps what has to outlive a command. The server's directory belongs
// to the server's user, who is nobody: what root believes must not be his to
// change, nor may root write through names that he makes.
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
	// Once more, now that all of it is there: its names may have been others' until now.
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
		return "", fmt.Errorf("%w: no state directory: %w", mirror.ErrUsage, err)
	}
	return filepath.Join(home, ".local/state/mmoci"), nil
}
