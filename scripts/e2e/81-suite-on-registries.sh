# 81-suite-on-registries.sh: the Go tests that talk to a registry, over distribution v3 and Debian's docker-registry in
# place of the strict one in memory (which make test uses): what they count and break stands before the real one.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# Not here: the tests that reach into the registry's memory, or are about TLS, credentials, mounts and lies of its own.
artifact='TestRoundTrip|TestCopy|TestSigned|TestSharedBlob|TestProgress|TestNotFound|TestImmutableTag|TestConcurrentPushes|TestBrokenSource|TestOtherReader|TestOtherManifest|TestRequestsOfFirstPush|TestRequestsOfOpen|TestLostCoreBlob|TestProbeReadsOnly|TestForeignArtifacts|TestConnectionsAreShared|TestPermanentErrors'
mirror='TestUnchanged|TestPushAgain'
scripts='TestScripts/(select|trust|verify)'

# The tests of each package are linked once, for both registries.
linked() { for p in pkg/artifact pkg/artifact/remote internal/chaintest cmd/mmoci; do "${GO:-go}" test -C "$E2E_TOP" -c -o "$work/${p##*/}.test" "./$p" >&2 || return; done; }
linked || die "the tests do not build"

# run_tests PACKAGE WHICH: as go test does, in the package's directory.
run_tests() { (cd "$E2E_TOP/$1" && "$work/${1##*/}.test" -test.v -test.run "$2"); }

# suite: the tests, verbosely.
suite() {
	export MMOCI_TEST_REGISTRY="http://$registry"
	run_tests pkg/artifact "$artifact"
	run_tests pkg/artifact/remote "$artifact"
	run_tests internal/chaintest "$mirror"
	run_tests cmd/mmoci "$scripts"
}

# counted NAME: every test passed, none was left out, and the registry was asked.
counted() {
	cat "$1.go"
	same "failed" 0 "$(grep -cE '^ *--- (FAIL|SKIP)' "$1.go")"
	[ "$(grep -cE '^--- PASS' "$1.go")" -ge 20 ] || { echo "too few tests"; return 1; }
	[ "$(find "$work/$1.d" -name link -path '*/_manifests/*' | wc -l)" -ge 50 ] || { echo "the registry holds too few manifests"; return 1; }
}
for program in registry docker-registry; do
	registry_start $program $program "$work/$program.d"
	(suite) >$program.go 2>&1 || :
	stop "$pid"
	say "$program: $(grep -cE '^--- PASS' $program.go) tests, $(grep -cE '^ +--- PASS' $program.go) parts of them"
	check "the suite over $program" counted $program
	rm -rf "${program:?}.d"
done
