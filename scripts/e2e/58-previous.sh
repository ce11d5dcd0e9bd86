# 58-previous.sh: a registry puts something else under the tag that a push replaces: snapshots of 2099 and of 2020, forged
# pins of keys. mmoci push stops, and told to go on it takes nothing from them. Then signatures and keys
# that are out of date: nothing is pushed that apt would refuse.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# A site that keeps docs of an upstream, whose key it gets from the network. The upstream is a tree that mmoci made.
"$mmoci" key new -o up.asc >&2
"$mmoci" key new -o site.asc >&2
mkdir -p www
cp up.pub.asc www/key.asc
nginx_start www "$work/www"
registry_start v3 registry "$work/v3"
cat >up.yaml <<-END
	ref: oci:$work/up:day
	sign: {key: $work/up.asc}
	trust: [$work/up.pub.asc]
	archives: [{prefix: own, mode: curated, debs: $work/debs}]
END
# upstream_of DAY DATE: upstream as it is on that day, under that date.
upstream_of() {
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" $((($1 - 1) * 5)) 10
	rm -rf up tree up.state # a place that remembers nothing
	XDG_STATE_HOME=$work/up.state "$mmoci" push -q -f up.yaml --date "$2" >&2
	XDG_STATE_HOME=$work/up.state "$mmoci" pull -q -f up.yaml -o tree >&2
	rm -rf www/debian
	cp -r tree/own www/debian
}
cat >mmoci.yaml <<-END
	ref: $registry/site/mirror:day
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- prefix: debian
	  mode: curated
	  url: $nginx/debian
	  suites: [own]
	  components: [main]
	  architectures: [$arch]
	  signed-by: $nginx/key.asc
	  packages: all
END
upstream_of 1 2026-01-02T00:00:00Z
"$mmoci" push >day1.ref 2>day1.txt
"$mmoci" verify >&2
mkdir -p previous
"$mmoci" copy "$registry/site/mirror:day" "oci:$work/previous/honest:day" >&2
(cd "$E2E_TOP" && MMOCI_PREVIOUS=$work/previous "${GO:-go}" test -count=1 -run '^TestWritePrevious$' ./internal/chaintest) >&2

pinned() {
	grep -q 'seen for the first time; .*mmoci.keys pins it' day1.txt
	same "mmoci.keys" "debian $("$mmoci" key show up.pub.asc | cut -d' ' -f1) $nginx/key.asc" "$(grep -v '^#' mmoci.keys)"
}
check "the key from the network is pinned beside the configuration" pinned

# put NAME: what a hostile registry does: the tag names something else.
put() { skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:$work/previous/$1:day" "docker://$registry/site/mirror:day" >&2; }
named() { crane digest "$registry/site/mirror:day"; }
for f in 2099-unsigned 2099-foreign 2020-unsigned 2020-foreign; do
	stopped() {
		put honest
		upstream_of 2 2026-01-01T00:00:00Z # and upstream goes back: it would be seen in the honest one
		refused 1 "--allow-older own" "$mmoci" push
		put "$f"
		was=$(named)
		refused 3 "not signed by the site" "$mmoci" push
		refused 3 "not signed by the site" "$mmoci" push --date auto
		refused 3 "not signed by the site" "$mmoci" push --date 2026-01-03T00:00:00Z
		refused 3 "not signed by the site" "$mmoci" push --repair
		refused 2 "give one" "$mmoci" push --replace-unverified
		refused 2 "give one" "$mmoci" push --replace-unverified --date auto
		refused 1 "more than a day after now" "$mmoci" push --replace-unverified --date 2099-12-31T00:00:01Z
		same "what the tag names" "$was" "$(named)"
		"$mmoci" push -q --replace-unverified --date 2026-01-03T00:00:00Z
		"$mmoci" verify >verified.txt
		grep -q '^statement of 2026-01-03T00:00:00Z: signed' verified.txt
		# From there on it goes by itself.
		upstream_of 3 2026-01-04T00:00:00Z
		"$mmoci" push
		"$mmoci" verify >verified.txt
		grep -q '^statement of 2026-01-04T00:00:00Z: signed' verified.txt
		rm -r "$XDG_STATE_HOME" # the next round begins with the first day again
	}
	check "$f under the tag: push stops; told to go on it takes nothing from it" stopped
done

pins() {
	upstream_of 1 2026-01-02T00:00:00Z
	for f in pins-unsigned pins-foreign; do
		put "$f"
		cp previous/other.asc www/key.asc
		refused 3 "says mmoci.keys" "$mmoci" push --replace-unverified --date 2026-01-05T00:00:00Z
		# Without the file nothing speaks for either key, least of all the registry: that is said, and the archive does not verify.
		mv mmoci.keys kept.keys
		refused 3 "seen for the first time" "$mmoci" push --replace-unverified --date 2026-01-05T00:00:00Z
		not test -e mmoci.keys
		mv kept.keys mmoci.keys
		cp up.pub.asc www/key.asc
		refused 3 "not signed by the site" "$mmoci" push
	done
}
check "forged pins of keys in the snapshot's lock count for nothing" pins

new_key() {
	put honest
	"$mmoci" key rotate site.asc
	"$mmoci" push
	cp site.pub.asc both.pub.asc
	"$mmoci" key rotate --finish site.asc
	upstream_of 4 2026-01-06T00:00:00Z
	"$mmoci" push # it was signed by both
	"$mmoci" verify
	cp site.pub.asc before.pub.asc
	rm site.asc site.pub.asc
	"$mmoci" key new -o site.asc
	upstream_of 5 2026-01-07T00:00:00Z
	refused 3 "add that key's public half to trust:" "$mmoci" push
	sed -i "s|^trust: .*|trust: [$work/site.pub.asc, $work/before.pub.asc]|" mmoci.yaml
	"$mmoci" push
}
check "a rotated key needs nothing, an abruptly new one the old public half in trust:" new_key

# --- signatures and keys out of date: apt and gpgv judge

export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg_at() { # DAY ARGUMENT..
	_at=$1
	shift
	gpg -q --batch --no-tty --pinentry-mode loopback --passphrase '' --faked-system-time "$(date -u -d "$_at" +%Y%m%dT%H%M%S)!" "$@"
}
upstream_of 1 2026-01-02T00:00:00Z
cat >dated.yaml <<-END
	ref: oci:$work/dated:day
	sign: {key: $work/site.asc}
	archives:
	- {prefix: old, mode: curated, url: $work/signed, suites: [own], components: [main], architectures: [$arch], signed-by: $work/old.gpg, packages: all}
END
apt_own judge
# verdicts NAME CREATED LIFE SIGNED PUSH [EXTRA]: a tree of 2026-01-02 that a key, made on CREATED for LIFE, signed on SIGNED. What push,
# with EXTRA, ends with is PUSH; what it takes apt takes.
verdicts() {
	rm -rf signed dated judge/lists
	mkdir -p judge/lists/partial
	cp -r tree/own signed
	gpg_at "$2" --quick-generate-key "$1 <$1@example.org>" ed25519 sign "$3" >&2
	gpg -q --batch --export "$1@example.org" >old.gpg
	rm signed/dists/own/Release.gpg
	gpg_at "$4" --yes -u "$1@example.org" --clearsign -o signed/dists/own/InRelease signed/dists/own/Release
	echo "deb [signed-by=$work/old.gpg target=Packages lang=none] file:$work/signed own main" >judge/sources/all.list
	_push=0
	# shellcheck disable=SC2086 # words
	"$mmoci" push -q -f dated.yaml ${6:-} >push.out 2>push.err || _push=$?
	_apt=0
	own apt-get -q update >apt.txt 2>&1 && ! grep -q '^[WE]:' apt.txt || _apt=1
	gpgv --keyring "$work/old.gpg" signed/dists/own/InRelease >gpgv.txt 2>&1 || :
	echo "$1: push $_push, apt $_apt; $(tail -n 1 push.err)"
	cat apt.txt gpgv.txt
	same "push of $1" "$5" "$_push"
	[ $_push != 0 ] || [ -n "${6:-}" ] || same "apt of what was pushed" 0 "$_apt"
}
dated() {
	verdicts fresh 2020-01-01 never 2026-01-02 0
	verdicts lately 2020-01-01 never 2026-01-01 0
	verdicts early 2020-01-01 never 2025-12-30 3
	same "apt, which does not look at that" 0 "$_apt"
	verdicts of2011 2010-06-01 2y 2011-01-01 5
	same "apt" 1 "$_apt"
	verdicts ended 2025-06-01 1y 2026-01-02 5
	same "apt" 1 "$_apt"
	# The lock was made when the key was good, or by hand: it names the file, so the key of then counts.
	cat >dated.lock <<-END
		mmoci-lock-v1
		date 2026-01-03T00:00:00Z
		archive old curated upstream
		release old own sha256:$(sha256sum <signed/dists/own/InRelease | cut -d' ' -f1) 2026-01-02T00:00:00Z
	END
	"$mmoci" push -q -f dated.yaml --lock dated.lock
	"$mmoci" verify --keyring site.pub.asc "oci:$work/dated:day"
}
check "no Release is pushed that apt refuses for its key, nor one signed before its Date, but for one that the lock names" dated
