# 41-suite.sh: NAME/SUITE takes what apt-get takes for it, of real suites; and a verbatim archive's .sources, with the key
# that the server hands out for it, suit a real apt as they are.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
site # and with it the real upstream, with all of the updates suite

# A package that both the release and its updates have, in different versions.
release=bookworm updates=bookworm-updates
versions_in() { /usr/lib/apt/apt-helper cat-file "$up/debian/dists/$1/main/binary-$arch"/Packages* | awk '/^Package:/ { p = $2 } /^Version:/ { print p, $2 }' | LC_ALL=C sort; }
versions_in $release >release.txt
versions_in $updates >updates.txt
name_=
for n in $(LC_ALL=C join release.txt updates.txt | awk '$2 != $3 { print $1 }' | sort -u); do
	# Of those the first whose closure apt finds and the pool of this upstream has.
	upstream_apt -y --no-install-recommends --print-uris install "$n/$updates" >uris 2>uris.err || continue
	sed -n "s/^'file:\([^']*\)'.*/\1/p" uris | sed 's/%2b/+/g; s/%7e/~/g' | while read -r f; do [ -f "$f" ] || { echo "$f"; break; }; done >absent
	if [ -s uris ] && ! [ -s absent ]; then
		name_=$n
		break
	fi
done
[ -n "$name_" ] || die "no package differs between $release and $updates"
say "$name_ differs between $release and $updates"

selection "$up" >archives.yaml
{ sign_part; echo "packages: [$name_/$updates]"; cat archives.yaml; } >updates.yaml
choice() { # SUITE: what apt takes for NAME/SUITE, name and version
	upstream_apt -s -y --no-install-recommends install "$name_/$1" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' | LC_ALL=C sort
}
same_choice() { # SUITE CONFIG
	choice "$1" >"$1.apt"
	[ -s "$1.apt" ]
	"$mmoci" lock -f "$2" -o "$1.lock"
	"$mmoci" push -f "$2" "oci:layout:$1"
	"$mmoci" ls "oci:layout:$1" | awk '{ print $1, $2 }' | LC_ALL=C sort -u >"$1.ours"
	diff "$1.apt" "$1.ours"
}
check "$name_/$updates takes what apt-get takes" same_choice $updates updates.yaml
codename=$(sed -n 's/^Codename: //p' "$up/debian/dists/$updates/InRelease")
suite=$(sed -n 's/^Suite: //p' "$up/debian/dists/$updates/InRelease")
by_other_names() {
	for n in "$codename" "$suite"; do
		same "apt's choice for $n" "$(choice $updates)" "$(choice "$n")"
		sed "s|/$updates]|/$n]|" updates.yaml >other.yaml
		"$mmoci" lock -f other.yaml -o other.lock
		"$mmoci" push -f other.yaml oci:layout:other
		"$mmoci" ls oci:layout:other | awk '{ print $1, $2 }' | LC_ALL=C sort -u | diff $updates.ours -
	done
}
check "so it does by the Codename ($codename) and the Suite ($suite) of the Release" by_other_names
sed "s|/$updates]|/nowhere]|" updates.yaml >nowhere.yaml
check "a suite that is not there is refused, and the ones that are there named" \
	refused 4 "no suite nowhere in the archives; there are debian/$release" "$mmoci" push -f nowhere.yaml oci:layout:nowhere
extracted() {
	"$mmoci" pull "oci:layout:$updates" --keyring "$sitekey" --extract "$name_/$suite" --host-status none -o debs
	packages debs | diff $updates.apt -
}
check "pull --extract $name_/$suite extracts the same" extracted

# --- verbatim, under upstream's key
verbatim() {
	sed -n '1,/^archives:/p' archives.yaml
	echo "- {prefix: debian, mode: verbatim, url: $up/debian, suites: [$updates], components: [main], architectures: [$arch], signed-by: $(echo "$up"/keyring-debian.*)}"
}
verbatim >verbatim.yaml
check "an archive is pushed verbatim" "$mmoci" push -f verbatim.yaml oci:layout:verbatim
serve_start verbatim oci:layout:verbatim -f verbatim.yaml
apt_own verbatim
with_key() {
	curl -sf "$serve/setup/debian.sources" -o debian.sources
	cat debian.sources
	keyfile=$(sed -n 's/^Signed-By: //p' debian.sources)
	[ -n "$keyfile" ] # Debian's keyring is too large to stand in the text
	curl -sf "$(sed -n 's/^# Put \(http[^ ]*\) there.*/\1/p' debian.sources)" -o key.asc
	sed "s|^Signed-By: .*|Signed-By: $work/key.asc|" debian.sources >verbatim/sources/debian.sources
	own apt-get -q update >update.out 2>&1
	updated update.out
	(cd verbatim && own apt-get -q download "$name_")
	want=$(own apt-get -q --print-uris download "$name_" | sed -n 's/.* SHA256:\([0-9a-f]*\)$/\1/p')
	same "the downloaded package" "$want" "$(sha256sum verbatim/"$name_"_*.deb | cut -d' ' -f1)"
}
check "apt verifies it by the key that the server hands out" with_key
without_key() {
	rm -rf verbatim/lists/* verbatim/sources/*
	mkdir -p verbatim/lists/partial
	sed "s|^Signed-By: .*|Signed-By: $sitekey|" debian.sources >verbatim/sources/debian.sources
	own apt-get -q update >update.out 2>&1 || :
	grep -q '^[EW]:.*' update.out
	not grep -q 'Packages \[' update.out
}
check "and by no other: the site's key does not verify it" without_key
stop "$pid"
serve_start keyless oci:layout:verbatim
told() {
	curl -sf "$serve/setup/debian.sources" -o keyless.sources
	grep '^# Debian.s is /usr/share/keyrings/debian-archive-keyring.gpg' keyless.sources
	not curl -sf "$serve/setup/keys/debian.asc"
}
check "a server without the key says what must lie where" told
