#!/bin/sh
# Runs the format check, vet and every Go test, and prints what failed and how
# many tests were skipped. Arguments go to go test.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}

unformatted=$(find . -name '*.go' -not -path './.tools/*' -exec gofmt -l {} +)
if [ -n "$unformatted" ]; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi
$GO vet ./...

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# Vet has run, whole. Many tests wait, for clocks and networks, more than they work.
$GO test -vet=off -parallel 4 "$@" -json ./... >"$log" || status=$?

# failures prints what failed tests and packages, and failed builds, printed.
failures() {
	awk '
		function subject() { s = $0; sub(/.*"Package":/, "", s); sub(/,"(Output|Elapsed|FailedBuild)":.*/, "", s); return s }
		NR == FNR { if (/"Action":"fail"/) failed[subject()]; next }
		/"Action":"build-output"/ || /"Action":"output"/ && subject() in failed {
			sub(/.*"Output":"/, ""); sub(/","OutputType":.*/, "\"}"); sub(/"}$/, ""); print
		}
	' "$log" "$log" |
		sed -e 's/\\\\/\\u005c/g; s/\\n$//; s/\\t/	/g; s/\\"/"/g' \
			-e 's/\\u003c/</g; s/\\u003e/>/g; s/\\u0026/\&/g; s/\\u001b\[[0-9;]*m//g; s/\\u005c/\\/g' |
		grep -vE '^=== (RUN|PAUSE|CONT|NAME) ' | tail -n 200
}
[ "$status" = 0 ] || failures
count() { grep -c "\"Action\":\"$1\".*\"Test\":" "$log" || true; }
grep -E '"Action":"output","Package":"[^"]*","Output":"(ok|FAIL)' "$log" | sed -E 's/.*"Output":"([^"]*)\\n".*/\1/; s/\\t/  /g'
echo "go test: $(count pass) passed, $(count fail) failed, $(count skip) skipped"
exit "$status"
