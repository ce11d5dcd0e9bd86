# 59-tags-together.sh: commands on the same tags at the same time, in a layout and at registries (distribution v3; v2, which
# deletes manifests only and writes its links in place): prune beside promote, an older push beside a newer one, pushes of the
# same content. Whatever order they come in, each tag is whole, and a command that ends with 0 did what it said.
# E2E_LONG=1 takes more rounds.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${SEED:-$(date +%s)}
rounds=6
[ -z "${E2E_LONG:-}" ] || rounds=60
echo "seed $seed, $rounds rounds"

"$mmoci" key new -o site.asc >&2
mkdir -p debs
for i in $(seq 25); do
	mkdir -p tree/DEBIAN
	printf 'Package: p%s\nVersion: 1\nArchitecture: %s\nMaintainer: Site <site@example.org>\nDescription: of a test\n' "$i" "$arch" >tree/DEBIAN/control
	dpkg-deb --root-owner-group -Znone -b tree debs >/dev/null
done
printf 'sign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >mmoci.yaml
days=14
for day in $(seq $days); do
	"$mmoci" push -q --date "2026-01-$(printf %02d "$day")T00:00:00Z" oci:source:day >&2
	rm "debs/p${day}_"*
done
registry_start v3 registry "$work/storage-v3"
v3=$registry
registry_start v2 docker-registry "$work/storage-v2"
v2=$registry

# pause N MOST: a little while, by seed and N.
pause() { sleep "$(awk -v s="$seed" -v n="$1" -v most="$2" 'BEGIN { printf "%.3f", (s % 1000 + 1) * (n * n + 17) * 7919 % 1000 / 1000 * most }')"; }
tags() { "$mmoci" tag list --json "$1" | jq -r '.[].tag'; }
digest() { "$mmoci" tag list --json "$1" | jq -r --arg t "$2" '.[] | select(.tag == $t) | .digest'; }
# whole PLACE: every tag of it verifies.
whole() {
	for t in $(tags "$1:day"); do
		XDG_STATE_HOME=$work/none "$mmoci" verify -q -f mmoci.yaml "$1:$t" >/dev/null || { echo "$1:$t is not whole"; return 1; }
		rm -rf "$work/none"
	done
}
# filled PLACE: has every day's snapshot.
filled() {
	case $1 in
	oci:*) rm -rf "${1#oci:}" && cp -al source "${1#oci:}" ;;
	*) for t in $(tags oci:source:day); do "$mmoci" copy -q "oci:source:$t" "$1:$t" >/dev/null; done ;;
	esac
}

# pruned PLACE ROUNDS MOST: a snapshot in the middle is promoted while it is pruned.
pruned() {
	old=$(tags oci:source:day | grep 'day-20260105')
	for n in $(seq "$2"); do
		_place=$1$n
		filled "$_place"
		(pause "$n" "$3" && "$mmoci" tag promote "$_place:$old" production) >promote.txt 2>&1 &
		promote=$!
		prune=0
		"$mmoci" tag prune --keep-last 2 "$_place:day" >prune.txt 2>&1 || prune=$?
		promoted=0
		wait $promote || promoted=$?
		tail -n 1 prune.txt promote.txt
		whole "$_place"
		named=$(digest "$_place:day" production)
		echo "round $n: prune $prune, promote $promoted, production names '$named'"
		[ $prune = 0 ] || grep -q 'somebody is writing to it' prune.txt
		if [ $promoted = 0 ]; then [ -n "$named" ]; else [ -z "$named" ]; fi
	done
}
check "prune beside promote, in a layout" pruned oci:p $rounds 0.05
check "prune beside promote, distribution v3" pruned "$v3/p/n" 1 0.3
check "prune beside promote, distribution v2, which deletes manifests only" pruned "$v2/p/n" 2 0.3

# overtaken PLACE MOST APART: an older and a newer snapshot are copied to one tag at the same time.
overtaken() {
	older=$(tags oci:source:day | grep 'day-20260105') newer=$(tags oci:source:day | grep 'day-20260112')
	first=$(tags oci:source:day | grep 'day-20260101')
	for n in $(seq $rounds); do
		_ref=$1$n:tag
		"$mmoci" copy -q "oci:source:$first" "$_ref" >/dev/null
		if [ $((n % 2)) = 0 ]; then a=$3 b=0; else a=0 b=$3; fi
		(sleep $a && pause "$n" "$2" && "$mmoci" copy "oci:source:$older" "$_ref") >older.txt 2>&1 &
		o=$!
		(sleep $b && pause "$((n + 100))" "$2" && "$mmoci" copy "oci:source:$newer" "$_ref") >newer.txt 2>&1 &
		w=$!
		os=0 ws=0
		wait $o || os=$?
		wait $w || ws=$?
		named=$(digest "$_ref" tag)
		echo "round $n: older $os, newer $ws, the tag names $named"
		tail -n 1 older.txt newer.txt
		# The newer is never replaced by the older. (No registry compares and sets: what happens within the same milliseconds there nobody can tell.)
		if [ $ws = 0 ]; then same "the tag" "$(digest oci:source:day "$newer")" "$named"; fi
		if [ $ws != 0 ] && [ $os = 0 ]; then same "the tag" "$(digest oci:source:day "$older")" "$named"; fi
		for s in $os $ws; do [ "$s" -le 1 ]; done
		whole "$1$n"
	done
}
check "an older snapshot beside a newer one, in a layout: the older never wins over it" overtaken oci:o 0.02 0
check "an older snapshot beside a newer one, distribution v3" overtaken "$v3/o/n" 0.05 0.15

# together HOST: five at once into one repository, of the same blobs: none fails.
together() {
	for n in $(seq $rounds); do
		pids=
		for i in 1 2 3 4 5; do
			"$mmoci" copy oci:source:day "$1/t/n$n:tag$i" >"together.$i" 2>&1 &
			pids="$pids $!"
		done
		i=0
		for p in $pids; do
			i=$((i + 1))
			wait "$p" || { cat "together.$i"; return 1; }
		done
	done
}
check "five pushes of the same blobs into one repository, distribution v2: none fails" together "$v2"
check "five pushes of the same blobs into one repository, distribution v3: none fails" together "$v3"
