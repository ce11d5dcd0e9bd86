# 67-memory.sh: the memory of a push follows what is selected, not what the archives hold. docker.io's closure for two
# architectures from the real trixie (updates and security too), pushed with all its files, and from sid with sources,
# as far as --plan goes (E2E_LONG=1: its .debs are pushed, too; of its sources few archives besides Debian's own have all files).
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

real=$E2E_CACHE/indices
status=0
"$E2E_TOP/scripts/real-indices.sh" "$real" >&2 || status=$?
[ $status != 3 ] || exit 0 # said why
[ $status = 0 ] || die "no indices"
mkdir -p keys temporary
"$mmoci" key new -o keys/site.asc >&2
for suite in trixie sid; do
	{ printf 'sign: {key: keys/site.asc}\ntrust: [keys/site.pub.asc]\n' && cat "$real/$suite.yaml"; } >$suite.yaml
done

# peak COMMAND..: its output in peak.out, its peak memory (VmHWM) in KiB on standard output.
peak() {
	python3 -c 'import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=open("peak.out", "w")).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)' "$@"
}

# within SUITE MIB WHAT COMMAND..: with E2E_LONG three times, as the collector makes it vary; the largest counts.
within() {
	_suite=$1 _most=$(($2 * 1024)) _what=$3 _largest=0
	shift 3
	for _try in 1 ${E2E_LONG:+2 3}; do
		rm -rf layout xdg
		_now=$(TMPDIR=$work/temporary peak "$@")
		echo "   $_suite, $_what: $_now KiB; at most $_most" >>figures
		[ "$_now" -le "$_largest" ] || _largest=$_now
	done
	[ "$_largest" -le "$_most" ] || { echo "$_largest KiB, over $_most"; return 1; }
	same "files left in TMPDIR" "$(ls -A temporary)" ""
}

# fetch SUITE: the pool files that the plan names come by apt-get, into the archive that the plan reads.
fetch() {
	"$mmoci" push -q --plan -f "$1.yaml" oci:none:x | awk '$3 ~ /\/pool\// { print $1, $3 }' | sed 's/^sha256://' >wanted
	mkdir -p "$E2E_CACHE/indices-pool"
	while read -r hex path; do
		[ -f "$E2E_CACHE/indices-pool/$hex" ] || echo "$path"
	done <wanted >missing
	[ -f "$1.lock" ] || "$mmoci" lock -q -f "$1.yaml" -o "$1.lock"
	_names=$(awk '$1 == "package" { sub(/^sha256:/, "", $8); print $5 ($7 == "all" ? "" : ":" $7) "=" $6, $8 }' "$1.lock" | while read -r package hex; do
		[ -f "$E2E_CACHE/indices-pool/$hex" ] || echo "$package"
	done)
	_sources=$(grep -v '\.deb$' missing | sed 's|.*/\([^/]*\)/[^/]*$|\1|' | sort -u)
	rm -rf fetched && mkdir fetched
	# shellcheck disable=SC2086 # names
	[ -z "$_names" ] || (cd fetched && APT_CONFIG=$real/apt.conf apt-get -q download $_names) >&2
	# shellcheck disable=SC2086 # names
	[ -z "$_sources" ] || (cd fetched && APT_CONFIG=$real/apt.conf apt-get -q -t "$1" source --download-only $_sources) >&2
	find fetched -type f | while read -r file; do mv "$file" "$E2E_CACHE/indices-pool/$(sha256sum "$file" | cut -d' ' -f1)"; done
	while read -r hex path; do
		[ -f "$E2E_CACHE/indices-pool/$hex" ] || { echo "apt-get did not give $path"; return 1; }
		mkdir -p "$real/$(dirname "$path")"
		ln -f "$E2E_CACHE/indices-pool/$hex" "$real/$path"
	done <wanted
}

plan() { within "$1" "$2" plan "$mmoci" push -q --plan -f "$1.yaml" oci:layout:x; }
whole() {
	fetch "$1"
	within "$1" "$2" push "$mmoci" push -q -f "$1.yaml" oci:layout:x
	"$mmoci" verify -q "oci:layout:x" --keyring keys/site.pub.asc
}
locked() {
	"$mmoci" lock -f trixie.yaml -o trixie.lock
	within trixie 128 "plan by a lock" "$mmoci" push -q --plan -f trixie.yaml --lock trixie.lock --locked oci:layout:x
}

# elsewhere: without a directory for temporary files the same comes out, with more memory.
elsewhere() {
	"$mmoci" push -q --plan -f trixie.yaml oci:layout:x | tail -n1 >with
	_now=$(TMPDIR=$work/none peak "$mmoci" push -q --plan -f trixie.yaml oci:layout:x)
	echo "   trixie without TMPDIR: $_now KiB" >>figures
	tail -n1 peak.out | cmp - with
}

check "trixie, amd64 and arm64: planned in 128 MiB" plan trixie 128
check "sid with sources: planned in 160 MiB" plan sid 160
check "trixie: a lock is followed in 128 MiB" locked
check "no directory for temporary files: the same snapshot" elsewhere
check "trixie, amd64 and arm64: pushed in 128 MiB" whole trixie 128
sed '/with-sources/d' sid.yaml >sid-debs.yaml
[ -z "${E2E_LONG:-}" ] || check "sid: its .debs are pushed in 160 MiB" whole sid-debs 160
cat figures
