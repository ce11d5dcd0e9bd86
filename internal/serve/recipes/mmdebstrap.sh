#!/bin/sh
# The site's packages for mmdebstrap: a minimal root in ROOT (default ./root) of SUITE, from {{.Base}} alone.
set -eu
root=${ROOT:-root}
suite=${SUITE:-{{.FirstSuite}}}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{{- range .Archives}}
curl -fsS {{sh .URL}} -o "$work"/{{sh (print .Prefix ".sources")}}
{{- end}}
mmdebstrap --variant="${VARIANT:-apt}" "$suite" "$root" "$work"/*.sources "$@"
