// Package host changes a host: it runs dpkg, writes .sources and keys, and
// waits for a mirror. Everything else in mmoci leaves the machine as it is.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// ErrDpkg marks a failure of dpkg itself; its own words went to stderr.
var ErrDpkg = errors.New("dpkg")

// Install hands groups of .debs to dpkg, one call a group, in order. It stops
// at the first that fails. Questions of maintainer scripts are answered as
// apt's non-interactive use does: debconf's defaults, and of a changed
// conffile the installed version is kept (dpkg(1), --force-confold).
func Install(ctx context.Context, groups [][]string, stdout, stderr io.Writer) error {
	for _, g := range groups {
		args := append([]string{"--force-confdef", "--force-confold", "-i", "--"}, g...)
		cmd := exec.CommandContext(ctx, "dpkg", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = stdout, stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w -i %s: %w (dpkg --configure -a finishes what was unpacked)", ErrDpkg, strings.Join(g, " "), err)
		}
	}
	return nil
}
