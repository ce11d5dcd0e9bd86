package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// Package is one that dpkg knows of.
type Package struct{ Name, Version, Architecture string }

// spec is how dpkg is told of it; without the architecture where it has none of its own.
func (p Package) spec() string {
	if p.Architecture == "all" {
		return p.Name
	}
	return p.Name + ":" + p.Architecture
}

// state is what dpkg says of a package: version, and the third word of Status
// ("installed", "unpacked", "half-configured"; dpkg(1), package states).
type state struct{ version, word string }

// configured tells a package that works, if only its triggers are still to run.
func (s state) configured() bool {
	return s.word == "installed" || s.word == "triggers-pending" || s.word == "triggers-awaited"
}

// broken tells a package that is there, and waits to be configured.
func (s state) broken() bool { return s.word == "unpacked" || s.word == "half-configured" }

// key names a package in a status.
func (p Package) key() string { return p.Name + ":" + p.Architecture }

// status reads dpkg's status by [Package.key].
func (h *Host) status() (map[string]state, error) {
	all := map[string]state{}
	err := h.eachPackage(func(s deb.Stanza, word string) {
		all[s.Get("Package")+":"+s.Get("Architecture")] = state{s.Get("Version"), word}
	})
	return all, err
}

// eachPackage shows each stanza of dpkg's status with the third word of its Status field.
func (h *Host) eachPackage(visit func(s deb.Stanza, word string)) error {
	data, err := h.ReadStatus()
	if err != nil {
		return fmt.Errorf("dpkg status: %w", err)
	}
	sc := deb.NewScanner(data)
	for {
		s, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dpkg status: line %d: %w", sc.Line(), err)
		}
		if words := strings.Fields(s.Get("Status")); len(words) == 3 {
			visit(s, words[2])
		}
	}
}

// Settle lets dpkg take over the journal of a dpkg that was interrupted,
// which any call that may write does first; this one sets no selection.
func (h *Host) Settle(ctx context.Context) error {
	if h.Settled() == nil {
		return nil
	}
	if err := h.dpkg(ctx, "--set-selections"); err != nil {
		return err
	}
	return h.Settled()
}

// Settled refuses a host whose dpkg was interrupted in the middle of writing:
// its status is not what is true (dpkg's journal, /var/lib/dpkg/updates).
func (h *Host) Settled() error {
	t, err := h.files()
	if err != nil {
		return err
	}
	entries, err := readDir(t, "var/lib/dpkg/updates")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dpkg's journal: %w", err)
	}
	numbered := func(e os.DirEntry) bool { return strings.Trim(e.Name(), "0123456789") == "" }
	if slices.ContainsFunc(entries, numbered) {
		return fmt.Errorf("%w was interrupted and its status is not up to date; first run: dpkg --configure -a", ErrDpkg)
	}
	return nil
}
