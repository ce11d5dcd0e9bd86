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
{{- if .KeyFiles}}
# Keys lie in files beside the sources. apt of this machine, which makes the root, reads them here; that of the root, there.
export MMOCI_WORK="$work"
mkdir "$work/keys" "$work/there"
chmod 755 "$work"
{{- range .Archives}}
{{- if .KeyFile}}
cat >"$work"/keys/{{sh (print "mmoci-" .Prefix ".asc")}} <<'{{end_mark}}'
{{indent 0 .Key}}
{{end_mark}}
{{- end}}
{{- end}}
cp "$work"/*.sources "$work/there"
sed -i "s|^Signed-By: /etc/apt/keyrings/mmoci-|Signed-By: $work/keys/mmoci-|" "$work"/*.sources
set -- "$@" --customize-hook='rm -f "$1"/etc/apt/sources.list.d/*mmoci-*.sources; mkdir -p "$1/etc/apt/keyrings"
	cp "$MMOCI_WORK"/keys/*.asc "$1/etc/apt/keyrings"; cp "$MMOCI_WORK"/there/*.sources "$1/etc/apt/sources.list.d"'
{{- end}}
mmdebstrap --variant="${VARIANT:-apt}" "$suite" "$root" "$work"/*.sources "$@"
