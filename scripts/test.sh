#!/bin/sh
# Runs the format check, vet and every Go test. Prints each package as it ends, then what failed and how many tests
# were skipped. Arguments go to go test.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}

unformatted=$(find . -name '*.go' -not -path './.tools/*' -exec gofmt -l {} +)
if [ -n "$unformatted" ]; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi
echo 'go vet, then the tests'
$GO vet ./...

log=$(mktemp)
trap 'rm -f "$log" "$log.status"' EXIT
packages=$($GO list ./... | wc -l)
# progress prints the line of each package that has ended, with how many of all these are.
progress() {
	n=0
	grep --line-buffered -E '"Action":"output","Package":"[^"]*","Output":"(ok|FAIL|\?) *\\t' | while IFS= read -r line; do
		n=$((n + 1))
		printf '%s/%s  %s\n' "$n" "$packages" "$(printf '%s\n' "$line" | sed -E 's/.*"Output":"([^"]*)\\n".*/\1/; s/\\t/  /g')"
	done
}
# Vet has run, whole. Many tests wait, for clocks and networks, more than they work.
{
	$GO test -vet=off -parallel 4 "$@" -json ./... || echo $? >"$log.status"
} | tee "$log" | progress
status=$(cat "$log.status" 2>/dev/null || echo 0)

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
echo "go test: $(count pass) passed, $(count fail) failed, $(count skip) skipped"
exit "$status"
