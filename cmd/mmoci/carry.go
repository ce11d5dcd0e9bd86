package main

import (
	"fmt"
	"os"
	"path/filepath"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/mirror"
)

// carry finds the programs that a plan wants carried.
func carry(plan *config.Plan, from string) error {
	if len(plan.Carry) == 0 {
		if from != "" {
			return fmt.Errorf("%w: --carry-from without carry: in mmoci.yaml", mirror.ErrUsage)
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
	plan.Carried, err = mirror.FindCarried(plan.Carry, dirs, self)
	return err
}
