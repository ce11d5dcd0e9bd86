# 57-keys.sh: a stock apt sees a key rotated and a tag rolled back, and has nothing to remark on.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

"$mmoci" key new -o site.asc >&2
cp site.pub.asc old.pub.asc
cat >mmoci.yaml <<-END
	ref: oci:$work/layout:day
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- prefix: own
	  mode: curated
	  debs: $work/debs
END
# pushed DAY: the .debs of that day, each of another version than on the day before.
pushed() {
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" $((($1 - 1) * 5)) 20 # package000 has version 1.DAY
	"$mmoci" push -q --date "2026-01-0$1T00:00:00Z" >"day$1.ref"
	"$mmoci" verify >verified.txt
	cat verified.txt
	followed "2026-01-0$1"
}
# followed DATE: the server has switched to a statement of that time.
followed() {
	[ -n "${serve:-}" ] || return 0
	_want=$(LC_ALL=C date -u -d "$1" '+%a, %d %b %Y')
	eventually sh -c "curl -sf $serve/own/dists/own/InRelease | grep -q '^Date: $_want'"
}
pushed 1 >&2
serve_start serve -f mmoci.yaml --follow 1s
# Three hosts: one that has the old key for now, one that got both halves at the rotation, one that was set up afterwards.
host() {
	apt_own "$1"
	sed "s|^Signed-By:.*|Signed-By: $work/$1.asc|; /^ /d" sources.txt >"$1/sources/own.sources"
	cp "$2" "$1.asc"
}
curl -sf "$serve/setup/own.sources" >sources.txt
as_host() { apt_conf=$work/$1.conf && shift && own "$@"; }
# updated_on HOST: apt-get update without W: or E:, and it has what the snapshot has.
updated_on() {
	as_host "$1" apt-get -q update >"$1.txt" 2>&1 || { cat "$1.txt"; return 1; }
	updated "$1.txt"
	same "version on $1" "$2" "$(as_host "$1" apt-cache policy package000 | sed -n 's/ *Candidate: //p')"
}
host before old.pub.asc

signed_by_old() {
	updated_on before 1.1
	(cd before && as_host before apt-get -q download package000)
}
check "apt with the site's key" signed_by_old

rotating() {
	"$mmoci" key rotate site.asc
	cp site.pub.asc both.pub.asc
	same "keys that sign" 2 "$("$mmoci" key show site.pub.asc | wc -l)"
	pushed 2
	same "signatures" 2 "$(curl -sf "$serve/own/dists/own/InRelease" | gpg_packets)"
	updated_on before 1.2
	cp both.pub.asc between.asc
	updated_on between 1.2
}
# gpg_packets: how many signatures an InRelease carries: each is a packet of an armoured block.
gpg_packets() {
	python3 -c '
import base64, sys
text = sys.stdin.read().split("-----BEGIN PGP SIGNATURE-----")[1].split("-----END")[0]
body = text.split("\n\n", 1)[1].strip().split("\n")
data = base64.b64decode("".join(l for l in body if not l.startswith("=")))
n = i = 0
while i < len(data):
    assert data[i] & 0xC0 == 0xC0 and data[i] & 0x3F == 2, "not a signature packet"
    length, i = data[i + 1], i + 2
    if length >= 192:
        length, i = (length - 192 << 8) + data[i] + 192, i + 1
    i, n = i + length, n + 1
print(n)'
}
host between old.pub.asc
check "both keys sign: apt with the old key, and apt with both, see the next day without a remark" rotating

finished() {
	"$mmoci" key rotate --finish site.asc
	pushed 3
	host after site.pub.asc
	same "signatures" 1 "$(curl -sf "$serve/own/dists/own/InRelease" | gpg_packets)"
	updated_on between 1.3
	updated_on after 1.3
	# Whoever was never given the new key is told so by apt, and keeps what it has.
	as_host before apt-get -q update >before.txt 2>&1 || :
	grep -q '^[WE]:.*NO_PUBKEY\|^[WE]:.*not signed\|^[WE]:.*signature' before.txt
}
check "the new key alone signs: apt with both, and apt with the new one, see the next day without a remark" finished

# Back to the first day, under a newer date: hosts install the older versions again.
rolled_back() {
	first=$("$mmoci" tag list | sed -n 's/^day-\(20260101[^ ]*\) .*/\1/p')
	# Signed by the old key, which nobody knows any more who knows the new one alone.
	refused 3 "" "$mmoci" tag rollback --to "$first"
	"$mmoci" tag rollback --to "$first" --keyring both.pub.asc
	"$mmoci" verify
	eventually sh -c "curl -sf $serve/own/dists/own/InRelease | grep -q '^Date: Sat, 03 Jan 2026 00:00:01'"
	updated_on between 1.1
	updated_on after 1.1
	as_host after apt-get -q update >again.txt 2>&1
	updated again.txt
	not grep -q '^Get:' again.txt
	(cd after && as_host after apt-get -q download package000 && ls package000_1.1_*.deb)
	refused 1 "clients take a later one only" "$mmoci" tag promote "oci:$work/layout:day-$first" day
}
check "a tag rolled back: apt takes the older selection without a remark, once" rolled_back

next_day() {
	pushed 4
	updated_on after 1.4
}
check "and the next day goes on from there" next_day

# The second rotation. Whoever is set up by the server while it goes on gets both keys from it.
second_rotation() {
	"$mmoci" key rotate site.asc
	pushed 5
	updated_on after 1.5
	curl -sf "$serve/setup/own.sources" >sources.txt
	apt_own meanwhile
	cp sources.txt meanwhile/sources/own.sources
	updated_on meanwhile 1.5
	cp site.pub.asc after.asc
	"$mmoci" key rotate --finish site.asc
	same "secret halves that are kept" 2 "$(grep -c 'BEGIN PGP PRIVATE' site.asc.retired)"
	pushed 6
	same "signatures" 1 "$(curl -sf "$serve/own/dists/own/InRelease" | gpg_packets)"
	updated_on after 1.6
	updated_on meanwhile 1.6
	host last site.pub.asc
	updated_on last 1.6
	as_host between apt-get -q update >between.txt 2>&1 || :
	grep -q '^[WE]:.*NO_PUBKEY\|^[WE]:.*not signed\|^[WE]:.*signature' between.txt
}
check "a second rotation: apt with the second key, with both, with the third, and set up by the server meanwhile, see each day without a remark" second_rotation

# Two rotations in a row, with no end between: a host with any of the three keys.
in_a_row() {
	cp site.pub.asc one.pub.asc
	"$mmoci" key rotate site.asc
	cp site.pub.asc two.pub.asc
	"$mmoci" key rotate site.asc
	pushed 7
	same "signatures" 3 "$(curl -sf "$serve/own/dists/own/InRelease" | gpg_packets)"
	for key in one two site; do
		host "row-$key" $key.pub.asc
		updated_on "row-$key" 1.7
	done
	"$mmoci" key rotate --finish site.asc
	pushed 8
	updated_on row-site 1.8
}
check "two rotations in a row: apt with the first, second or third public file sees the next day without a remark" in_a_row
