#!/bin/sh
# The site's packages for MAAS: makes a package repository of each archive. PROFILE is the one of `maas login`.
{{.Trust}}set -eu
: "${PROFILE:?the name of a MAAS profile}"
{{- range $a := .Archives}}
{{- range $i, $s := .Stanzas}}
maas "$PROFILE" package-repositories create name={{sh (print $a.Prefix (ordinal $i))}} url={{sh $s.URI}} \
	distributions={{sh (join $s.Suites ",")}} components={{sh (join $s.Components ",")}}{{with $s.Architectures}} arches={{sh (join . ",")}}{{end}} disable_sources=true \
	key={{if $s.SignedByKey}}{{sh (printf "%s" $s.SignedByKey)}}{{else}}"$(cat {{sh $s.SignedBy}})" # of upstream's key, armoured{{end}}
{{- end}}
{{- end}}
