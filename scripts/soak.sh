#!/bin/sh
# soak.sh: mmoci's server under mixed load for SOAK_MINUTES (default 20): the tag moves, the rules change, old
# snapshots are asked for, the store is too small, and the registry misbehaves. Prints figures every ten seconds;
# ends with 1 if an answer was wrong, if memory, descriptors or goroutines grow, or if the store exceeds its bound.
set -eu
cd "$(dirname "$0")/.."
minutes=${SOAK_MINUTES:-20}
SOAK_MINUTES=$minutes exec "${GO:-go}" test -count=1 -timeout "$((minutes + 10))m" -v -run '^TestSoak$' ./internal/serve
