# 71-strict.sh: whatever mmoci takes for a version, a .deb or an InRelease, dpkg, dpkg-deb and apt take too, and for the
# same; and no real .deb is refused. E2E_LONG=1 asks that of 500 .debs more, drawn from all that this machine's apt knows.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

seed=${SEED:-71}
say "seed $seed"
export GOFLAGS="${GOFLAGS:--buildvcs=false}"
"${GO:-go}" build -C "$E2E_TOP" -o "$work/strict" ./scripts/strict
odd() { "$E2E_TOP/scripts/e2e/strict.py" "$@"; }

# --- versions

# dpkg_says: its word on each line. It also warns, and then of nothing else, where a digit does not come first: those
# it is not asked about ("v1.2.3" is odd and taken).
dpkg_says() {
	while IFS= read -r v; do
		word=refused
		if dpkg --validate-version "$v" 2>dpkg.err && [ ! -s dpkg.err ]; then word=taken; fi
		! grep -q 'does not start with digit' dpkg.err || word=odd
		echo $word
	done
}
versions_agree() {
	odd versions "$seed" 600 >versions.txt
	./strict version <versions.txt | cut -f1 >ours.txt
	dpkg_says <versions.txt >theirs.txt
	paste theirs.txt ours.txt versions.txt | grep -v '^odd' >both.txt
	cut -f1,2 both.txt | sort | uniq -c
	[ "$(grep -c '^taken' both.txt)" -gt 100 ] && [ "$(grep -c '^refused' both.txt)" -gt 100 ]
	not awk -F'\t' '$1 != $2 { print; bad = 1 } END { exit !bad }' both.txt
}
check "600 versions: taken are those that dpkg neither refuses nor warns of" versions_agree

# --- .debs

# same_control FILE..: each line of strict's holds what dpkg-deb finds. Empty lines are no part of a stanza.
same_control() {
	while IFS="$(printf '\t')" read -r verdict file sum; do
		[ "$verdict" = taken ] || continue
		theirs=$(dpkg-deb -I "$file" control 2>dpkg.err | sed '/^$/d' | sha256sum | cut -d' ' -f1)
		[ "$sum" = "$theirs" ] || { echo "$file: another control file than dpkg-deb has: $(cat dpkg.err)"; return 1; }
	done
}
odd_debs() {
	mkdir -p odd
	odd debs "$seed" 400 odd
	./strict deb odd/*.deb >odd.txt
	cut -f1 odd.txt | sort | uniq -c
	[ "$(grep -c '^taken' odd.txt)" -gt 40 ] && [ "$(grep -c '^refused' odd.txt)" -gt 200 ]
	same_control <odd.txt
}
check "400 odd control archives: whoever is taken has the control file that dpkg-deb finds" odd_debs

# none_refused DIR
none_refused() {
	find "$1" -name '*.deb' | LC_ALL=C sort >real.list
	wc -l <real.list
	[ -s real.list ]
	xargs ./strict deb <real.list >real.txt
	not grep '^refused' real.txt
	same_control <real.txt
}
upstream
check "real .debs of upstream: none is refused" none_refused "$up"

if [ -n "${E2E_LONG:-}" ]; then
	sample() {
		mkdir -p sample
		for f in $(apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages'); do
			for g in "$f" "$f".*; do [ -e "$g" ] && /usr/lib/apt/apt-helper cat-file "$g" && break; done
		done | awk '/^Package: / { p = $2 } /^Size: / { if ($2 < 400000) print p }' | LC_ALL=C sort -u |
			python3 -c 'import random, sys; print("\n".join(random.Random(int(sys.argv[1])).sample(sys.stdin.read().split(), 500)))' "$seed" >sample.names
		(cd sample && xargs apt-get -q download <../sample.names >&2)
		[ "$(find sample -name '*.deb' | wc -l)" = 500 ]
		none_refused sample
	}
	check "500 real .debs of this machine's archives: none is refused" sample
	rm -rf sample
fi

# --- InReleases

# Signed by gpg, judged by apt-get update: what got into its lists was taken.
inreleases() {
	GNUPGHOME=$work/gnupg
	export GNUPGHOME
	mkdir -p -m 700 gnupg odd-releases
	gpg -q --batch --passphrase '' --quick-gen-key 'Nobody <nobody@example.org>' ed25519 sign
	gpg -q --export >odd.gpg
	empty=$(sha256sum </dev/null | cut -d' ' -f1)
	printf 'Origin: odd\nSuite: odd\nCodename: odd\nDate: %s\nArchitectures: all\nComponents: main\nDescription: - a dash\nSHA256:\n %s 0 main/binary-all/Packages\n' \
		"$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$empty" >Release
	gpg -q --digest-algo SHA256 -o InRelease --clearsign Release
	gpgconf --kill all
	odd inreleases "$seed" 300 InRelease odd-releases
	./strict inrelease odd.gpg odd-releases/* | sed 's|odd-releases/||' >ours.txt
	cut -f1 ours.txt | sort | uniq -c
	apt_own judge
	odd sources "$work/odd-releases" "$work/odd.gpg" >judge/sources/odd.list
	own apt-get -q update >judge.log 2>&1 || :
	# The lists are named by where they come from: ..._odd-releases.tree_NNNN_dists_odd_InRelease.
	find judge/lists -maxdepth 1 -name '*_InRelease' | sed -n 's/.*odd-releases\.tree_\([0-9]*\)_.*/\1/p' | LC_ALL=C sort >theirs.txt
	grep '^taken' ours.txt | cut -f2 | LC_ALL=C sort >taken.txt
	echo "apt takes $(wc -l <theirs.txt), we take $(wc -l <taken.txt)"
	grep -qx 0000 taken.txt && grep -qx 0000 theirs.txt
	[ "$(wc -l <taken.txt)" -gt 30 ]
	LC_ALL=C comm -23 taken.txt theirs.txt >only-ours.txt
	cat only-ours.txt
	[ ! -s only-ours.txt ]
}
check "300 framings of an InRelease: apt takes each that is taken" inreleases
