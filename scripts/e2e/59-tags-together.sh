# 59-tags-together.sh: commands on the same tags at the same time, in a layout and at registries (distribution v3; v2, which
# deletes manifests only and writes its links in place): prune beside promote, pushes of the same
# content. Whatever order they come in, each tag is whole, and a command that ends with 0 did what it said.
# E2E_LONG=1 takes more rounds.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${SEED:-$(date +%s)}
rounds=8
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

# pause N: a little while, by seed and N.
pause() { sleep "$(awk -v s="$seed" -v n="$1" -v most="$2" 'BEGIN { srand(s * 1000 + n); printf "%.3f", rand() * most }')"; }
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
