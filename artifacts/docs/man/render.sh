#!/bin/sh
# render.sh OUT-DIR VERSION DATE: makes the manual pages of the Markdown beside it, with go-md2man.
set -eu
GO=${GO:-go}
out=${1:?where to} version=${2:?of mmoci} date=${3:?as 2026-01-31}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")"
tool=$(GOFLAGS='' "$GO" tool -n go-md2man)
for page in *.[0-9].md; do
	name=${page%.md}
	{
		printf '%% "%s" "%s" "%s" "mmoci %s" "mmoci"\n\n' "$(printf %s "${name%.*}" | tr a-z A-Z)" "${name##*.}" "$date" "$version"
		cat "$page"
	} | "$tool" |
		sed '/^\./!{ s/--/\\-\\-/g; s/\(^\|[ [(]\|\\fB\)-\([a-zA-Z]\)/\1\\-\2/g; }' >"$out/$name" # a minus that can be copied, not a hyphen
done
