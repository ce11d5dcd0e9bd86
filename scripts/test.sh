#!/bin/sh
# Runs vet, the format check and every Go test, and prints how many tests were
# skipped. Arguments go to go test.
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
$GO test "$@" -json ./... >"$log" || status=$?
count() { grep -c "\"Action\":\"$1\".*\"Test\":" "$log" || true; }
if [ "$status" -ne 0 ]; then
	# What failed, with what it printed.
	$GO test "$@" ./... 2>&1 | grep -v '^ok ' | tail -n 200
fi
grep -E '"Action":"output","Package":"[^"]*","Output":"(ok|FAIL)' "$log" | sed -E 's/.*"Output":"([^"]*)\\n".*/\1/; s/\\t/  /g'
echo "go test: $(count pass) passed, $(count fail) failed, $(count skip) skipped"
exit "$status"
