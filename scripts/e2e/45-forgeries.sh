# 45-forgeries.sh: every forgery of SPEC section 12 in the hands of apt: mmoci serve gives it out, and hosts that hold
# the right keys update from it and download docker-ce. What has to come of it stands in the table of internal/chaintest.
# The readers are the host's own apt, which verifies with gpgv, and then apt 3, which verifies with sqv, in a root of
# trixie: that reads what a thief of the site's key made, with E2E_LONG=1 everything.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# The world of the forgeries is one of January 2026. apt, which goes by the clock, is told that it is that day.
# today HOST ARGUMENT..: apt-get, the host's own or, if $root is set, the one in there.
today() {
	_host=$1
	shift
	if [ -n "$root" ]; then set -- chroot "$root" env APT_CONFIG="$work/$_host.conf" faketime --exclude-monotonic '2026-01-13 12:00:00' apt-get -q -y "$@"
	else set -- env APT_CONFIG="$work/$_host.conf" faketime --exclude-monotonic '2026-01-13 12:00:00' apt-get -q -y "$@"; fi
	"$@"
}
root=
lanes=4 # apt mostly waits

forgeries
f=$forgeries k=$forgeries/keys

# host NAME: an apt of an empty amd64 host.
host() {
	apt_own "$1"
	sed -i "s/\"$arch\"/\"amd64\"/" "$apt_conf"
}

# sources NAME URL [COMPONENT]: what NAME, LANE-site or LANE-upstream, has in its sources.list.d: the site's key for what the site
# signs, or upstream's keys. What is carried verbatim has one signature, upstream's.
sources() {
	case $1 in
	*-site) u=$2 docker=$k/site.asc debian=$k/site.asc ;;
	*) u=$2/upstream docker=$k/docker.asc debian=$k/debian.asc ;;
	esac
	cat >"$work/$1/sources/all.list" <<-END
		deb [signed-by=$docker target=Packages lang=none] $u/docker bookworm stable${3:+ $3}
		deb [signed-by=$debian target=Packages lang=none] $u/debian bookworm main
		deb [signed-by=$debian target=Packages lang=none] $u/debian bookworm-updates main
		deb [signed-by=$k/debian.asc target=Packages lang=none] $2/security bookworm-security main
	END
}

# word FILE TABLE: the first of the words that fits what a program printed.
word() {
	while IFS='|' read -r _word _text; do
		! grep -qE -e "$_text" "$1" || { echo "$_word"; return 0; }
	done
	echo "?"
}
apt_word() {
	word "$1" <<-'END'
		expired|^E(rror)?: Release file for .* is expired
		signature|signatures couldn't be verified|signatures were invalid|OpenPGP signature verification failed
		unsigned|^E(rror)?: The repository .* is not signed
		absent|does not have a Release file|^E(rror)?: Failed to fetch [^ ]+ +404 
		bytes|unexpected size|Hash Sum mismatch|not what its digest says
		unmet|unmet dependencies|Unable to locate package|no installation candidate
	END
}
start_word() {
	word "$1" <<-'END'
		binding|, statement sha256:
		grammar|no provenance: neither upstream-inrelease nor upstream-release
	END
}

# added LAYOUT: a component that a forgery adds: who takes its sources from /setup is told of it.
added() {
	case $1 in
	m-component-*) echo added ;;
	m-installer-*) echo stable/debian-installer ;;
	esac
}

# outcome NAME URL GOOD [COMPONENT]: what a host with NAME's keys gets from the server at URL.
outcome() {
	d=$work/$1
	rm -rf "$d/lists" "$d/archives" "$d"/*.bin
	mkdir -p "$d/lists/partial" "$d/archives/partial"
	sources "$1" "$2" "${4:-}"
	got=0
	today "$1" update >"$d.log" 2>&1 || got=$?
	# Who goes on after a failed update gets nothing of the opponent's either.
	today "$1" --no-install-recommends --download-only install docker-ce >"$d.install.log" 2>&1 || { [ $got != 0 ] || cp "$d.install.log" "$d.log"; got=1; }
	(cd "$d/archives" && find . -maxdepth 1 -name '*.deb' -exec sha256sum {} +) | cut -d' ' -f1 | LC_ALL=C sort >"$d.debs"
	if grep -qxFf "$f/evil" "$d.debs"; then
		if [ $got = 0 ]; then echo EVIL; else echo EVIL-after-error; fi
	elif [ $got != 0 ]; then
		apt_word "$d.log"
	elif cmp -s "$d.debs" "$3"; then
		echo ok
	else
		echo other
	fi
}

# served LANE LAYOUT GOOD: the two cells of a forgery.
served() {
	rm -rf "$work/$1.state" "$work/$1.serve"
	"$mmoci" serve --listen 127.0.0.1:0 --state "$work/$1.state" "oci:$f/$2:forged" >"$work/$1.access" 2>"$work/$1.serve" &
	server=$!
	echo $server >>"$work/pids"
	until grep -qs 'listening on ' "$work/$1.serve"; do
		kill -0 $server 2>/dev/null || break
		sleep 0.05
	done
	url=http://$(listening "$work/$1.serve")
	if [ "$url" != http:// ]; then
		more=$(added "$2")
		echo "$(outcome "$1-site" "$url" "$3" "$more") $(outcome "$1-upstream" "$url" "$3" "$more")"
		stop $server
		return
	fi
	status=0
	wait $server || status=$?
	start=$(start_word "$work/$1.serve")
	[ $status = 3 ] || start="start-$status"
	echo "$start $start"
}

# apt3_root: $root, a system of trixie, made of the host's own mirror once and kept.
apt3_root() {
	if [ ! -e "$E2E_CACHE/apt3.tar" ]; then
		mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n1)
		[ -n "$mirror" ] || die "apt has no source of Debian's that could have trixie"
		mmdebstrap --quiet --mode=root --variant=apt --include=faketime trixie "$E2E_CACHE/apt3.part" --format=tar "$mirror" >&2
		mv "$E2E_CACHE/apt3.part" "$E2E_CACHE/apt3.tar"
	fi
	root=$work/apt3
	mkdir "$root"
	tar -xf "$E2E_CACHE/apt3.tar" -C "$root" --exclude './dev/*'
	for m in /dev /proc "$work" "$forgeries"; do
		mkdir -p "$root$m"
		mount --bind "$m" "$root$m"
		echo "$root$m" >>mounts
	done
}

# What an honest copy gives to both hosts is what the others are compared with.
for n in $(seq $lanes); do
	for who in site upstream; do host "$n-$who"; done
done
: >none
served 1 good-resigned "$work/none" >first.txt
cp 1-site.debs good.debs
honest() {
	cat 1-*.log
	same "outcomes" "other other" "$(cat first.txt)"
	same ".debs" 17 "$(wc -l <good.debs)"
	cmp good.debs 1-upstream.debs
}
check "an honest snapshot, under the site's key and under upstream's" honest

lane() {
	awk -v n="$1" -v of=$lanes 'NR % of == n % of { print $1, $2, $(NF-1), $NF }' expected.now | while read -r name making site upstream; do
		echo "$name $making $site $upstream $(served "$1" "$name-$making" "$work/good.debs")"
		cat "$work/$1.serve" "$work/$1"-*.log >"$work/$name-$making.log" 2>&1
	done >"$work/lane.$1"
}
cells() {
	read -r _ _ site upstream gotsite gotupstream <"$work/cells"
	cat "$work/$1.log"
	same "under the site's key" "$site" "$gotsite"
	same "under upstream's keys" "$upstream" "$gotupstream"
}
# read_all APT: the forgeries of expected.now in the hands of the present apt.
read_all() {
	rm -f lane.*
	children=
	for n in $(seq $lanes); do
		lane "$n" &
		children="$children $!"
	done
	for c in $children; do wait "$c"; done
	cut -f1,2 expected.now | tr '\t' ' ' | while read -r name making; do
		grep -h "^$name $making " lane.* >cells || echo "$name $making - - missing missing" >cells
		check "$1: $name, $making" cells "$name-$making"
	done
}
cp "$f/expected.tsv" expected.now
read_all "apt $(apt-get --version | awk 'NR == 1 { print $2 }')"

# Several signatures in one InRelease, good and bad ones (SPEC section 12): apt, with Docker's and Debian's keys, says the same.
host signatures
while IFS="$(printf '\t')" read -r name want; do
	echo "deb [signed-by=$k/docker.asc,$k/debian.asc target=Packages lang=none] file:$f/signatures/$name bookworm stable" >signatures/sources/all.list
	rm -rf signatures/lists && mkdir -p signatures/lists/partial
	got=good
	today signatures update >"signatures-$name.log" 2>&1 || got=refused
	echo "$name $want $got"
done <"$f/signatures/signatures.tsv" >signatures.txt
beside() {
	cat "signatures-$1.log"
	same "$1" "$2" "$3"
}
while read -r name want got; do
	check "signatures: $name" beside "$name" "$want" "$got"
done <signatures.txt

# The same in the hands of apt 3.
apt3_root
version=$(chroot "$root" apt-get --version | awk 'NR == 1 { print $2 }')
is3() {
	case $version in [3-9].* | [1-9][0-9].*) ;; *) same "apt of trixie" 3 "$version" ;; esac
	chroot "$root" test -x /usr/bin/sqv
}
check "apt $version, which verifies with sqv" is3
awk -F'\t' -v all="${E2E_LONG:-}" 'all == 1 || $2 == "resigned"' "$f/expected.tsv" >expected.now
read_all "apt $version"
