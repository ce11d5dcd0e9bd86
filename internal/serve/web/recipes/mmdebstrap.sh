#!/bin/sh
# The site's packages for mmdebstrap: a minimal root in ROOT (default ./root) of SUITE, from {{.Base}} alone.
{{.Trust}}set -eu
root=${ROOT:-root}
suite=${SUITE:-{{.FirstSuite}}}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{{- range .Archives}}
cat >"$work"/{{sh (print "mmoci-" .Prefix ".sources")}} <<'{{end_mark}}'
{{indent 0 .Sources}}
{{end_mark}}
{{- end}}
mmdebstrap --variant="${VARIANT:-apt}" "$suite" "$root" "$work"/*.sources "$@"
