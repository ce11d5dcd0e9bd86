#!/bin/sh
# Runs every fuzz target of the module for FUZZTIME each, one after the other. A new input is made smaller at most a
# hundred times: go's own bound, a minute for each, lets targets with inputs of some thousand bytes do nothing else.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
time=${FUZZTIME:-30s}
grep -rl --include='*_test.go' '^func Fuzz' cmd internal pkg | sort | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "== $(dirname "$file") $target $time"
		$GO test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "./$(dirname "$file")"
	done
done
