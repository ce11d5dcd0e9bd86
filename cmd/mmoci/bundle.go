package main

import (
	"fmt"
	"os"
	"path/filepath"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
)

// bundle finds the programs that a plan bundles.
func bundle(plan *config.Plan, from string) error {
	if len(plan.Bundle) == 0 {
		if from != "" {
			return fmt.Errorf("%w: --bundle-from without bundle: in mmoci.yaml", mirror.ErrUsage)
		}
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dirs := []string{filepath.Dir(self), "/usr/lib/mmoci"}
	if from != "" {
		dirs = []string{from}
	}
	plan.Bundled, err = mirror.FindBundled(plan.Bundle, dirs, self)
	return err
}
