package inci

import (
	"fmt"
	"path/filepath"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/state"
)

// listedDir is where files are kept that lists name by URL.
func listedDir() (string, error) { return state.HostDir("listed") }

// reportTo has a push write its report into a file; what it returns tells, after the push, what went wrong with that.
func reportTo(a *command.App, file string, q *push.Options) (written func() error) {
	if file == "" {
		return func() error { return nil }
	}
	var last *fetchreport.Report
	q.Report = func(r *fetchreport.Report) { last = r }
	return func() error {
		if last == nil { // nothing changed, or the push ended before it was known which files there are
			last = &fetchreport.Report{}
		}
		text, err := last.Table(), error(nil)
		if filepath.Ext(file) == ".json" {
			text, err = last.JSON()
		}
		if err == nil {
			err = durable.WriteOutput(file, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		for _, line := range last.Totals() {
			a.Log("%s", line)
		}
		return nil
	}
}
