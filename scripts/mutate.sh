#!/bin/sh
# mutate.sh [-only REGEXP]: removes single checks of the code, listed below scripts/mutate/edits by
# package and declaration, one at a time, and holds that a named test turns red. Nothing is changed on
# disk (go's -overlay). Prints one line each; ends with 1 if one survives or no longer fits the code.
set -eu
cd "$(dirname "$0")/.."
exec go run ./scripts/mutate "$@" scripts/mutate/edits
