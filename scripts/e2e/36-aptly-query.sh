# 36-aptly-query.sh: what package queries select against what aptly selects.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

export GOFLAGS="${GOFLAGS:--buildvcs=false}"
"${GO:-go}" build -C "$E2E_TOP" -o "$work/parity-query" ./scripts/parity-query
against_aptly() {
	mkdir -p synthetic
	HOME=$work ./parity-query "$work/synthetic"
}
check "every difference from aptly in over 400 queries is one that is meant" against_aptly
cp check.log figures.txt
sed 's/^/   /' figures.txt
check "10 operators, 25 fields and 9 classes of precedence are among them" \
	awk '/ of operator / { o++ } / of field / { f++ } / of precedence / { p++ } END { print o, f, p; exit !(o == 10 && f == 25 && p >= 9) }' figures.txt
