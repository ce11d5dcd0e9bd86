# 56-lost.sh: blobs that are deleted behind our back, and a month of daily snapshots, on distribution v3 and in a layout.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

"$mmoci" key new -o site.asc >&2
cat >mmoci.yaml <<-END
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- prefix: own
	  mode: curated
	  debs: $work/debs
END
days=30 keep=7
registry_start v3 registry "$work/storage"
v3=$registry

# held KIND: bytes and files of the blobs that a place holds.
held() {
	case $1 in
	registry) find storage/docker/registry/v2/blobs -name data -type f -printf '%s\n' ;;
	layout) find layout/blobs -type f -printf '%s\n' ;;
	esac | awk '{ n += $1 } END { printf "%d %d\n", n, NR }'
}
ref_of() { case $1 in registry) echo "$v3/site/mirror:day" ;; layout) echo oci:layout:day ;; esac; }
date_of() { date -u -d "2026-01-01 + $(($1 - 1)) days" +%Y-%m-%dT00:00:00Z; }
as() { XDG_STATE_HOME=$work/xdg-$1 "$mmoci" "$@"; }

# --- a month: each day one package of five has another version

push_day() {
	"$mmoci" push -q -f mmoci.yaml --date "$(date_of "$1")" --json "$(ref_of "$2")" >"$2.json"
	echo "$1 $(held "$2") $(jq -r '"\(.uploaded) \(.uploadedBytes) \(.changed) \(.tag) \(.digest)"' "$2.json")" >>"$2.days"
}
for day in $(seq $days); do
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" "$day" 50 20000
	push_day "$day" registry
	push_day "$day" layout
done

# Stored is what was sent and nothing twice: on the 30th day what five of 50 packages, their indices and signatures take.
grows() {
	awk 'NR == 1 { first = $2 } NR > 1 { n++; if ($2 - was > most) most = $2 - was; sum += $2 - was; if (NR == 2) least = $2 - was; if ($2 - was < least) least = $2 - was } { was = $2 }
		END { printf "first day %d bytes; a day later %d to %d more, mean %d (%.1f %% of a snapshot); after %d days %d bytes\n", first, least, most, sum / n, 100 * sum / n / first, NR, was
		      exit !(most < 0.35 * first) }' "$1.days"
	same "days that changed something" $days "$(awk '$6 == "true"' "$1.days" | wc -l)"
}
shown() { sed 's/^/     /' check.log; }

pruned() {
	before=$(held "$1")
	awk '{ print $7, $8 }' "$1.days" >snapshots.txt
	"$mmoci" tag prune --keep-last $keep "$(ref_of "$1")" >prune.txt 2>prune.err
	cat prune.err
	same "tags removed" $((days - keep)) "$(grep -c '^remove' prune.txt)"
	if [ "$1" = registry ]; then
		stop "$registry_pid"
		registry garbage-collect --delete-untagged v3.yml >collect.log 2>&1
		registry_again
	fi
	after=$(held "$1")
	echo "bytes and files: $before before, $after after"
	# A place that was given the kept days alone holds as much.
	same "what is left, and what the kept days need" "$(held_by_kept "$1")" "${after#* }"
	tail -n $keep snapshots.txt | while read -r tag _; do
		"$mmoci" verify "$(ref_of "$1" | sed 's/day$//')$tag" -f mmoci.yaml >verified.txt || exit 1
	done
	"$mmoci" verify "$(ref_of "$1")" -f mmoci.yaml
	head -n $((days - keep)) snapshots.txt | while read -r tag _; do
		refused 4 "" "$mmoci" verify "$(ref_of "$1" | sed 's/day$//')$tag" -f mmoci.yaml || exit 1
	done
}
# held_by_kept KIND: how many blobs and manifests the kept snapshots have together.
held_by_kept() {
	tail -n $keep snapshots.txt | while read -r tag digest; do
		if [ "$1" = registry ]; then
			blob() { crane manifest "$v3/site/mirror@$1"; }
		else
			blob() { cat "layout/blobs/sha256/${1#sha256:}"; }
		fi
		echo "$digest"
		blob "$digest" | jq -r '.manifests[].digest' | while read -r m; do
			echo "$m"
			blob "$m" | jq -r '.config.digest, .layers[].digest'
		done
	done | sort -u | wc -l
}
registry_pid=$(tail -n 1 pids)
registry_again() {
	registry_start v3 registry "$work/storage" "$v3"
	registry_pid=$pid
}

for kind in registry layout; do
	check "$kind: $days days of churn, the storage grows by the changes" grows $kind
	shown
	check "$kind: pruned to $keep, what only the others held is gone, the rest verifies" pruned $kind
	grep '^bytes' check.log | sed 's/^/     /'
done
registry_pid=$(tail -n 1 pids)

# --- lost behind our back

# lost DIGEST: a blob vanishes from the registry's storage, and its link in the repository.
data_of() { echo "storage/docker/registry/v2/blobs/sha256/$(echo "${1#sha256:}" | cut -c1-2)/${1#sha256:}/data"; }
blob_lost() {
	ref=$(ref_of registry)
	root=$(crane digest "$ref")
	crane manifest "$ref" | jq -r '.manifests[].digest' >children.txt
	core=$(head -n 1 children.txt) shard=$(tail -n 1 children.txt)
	deb=$(crane manifest "$v3/site/mirror@$shard" | jq -r '.layers[3].digest')
	table=$(crane manifest "$v3/site/mirror@$core" | jq -r '.layers[1].digest')
	for digest in "$deb" "$table"; do
		stop "$registry_pid"
		rm -r "$(dirname "$(data_of "$digest")")"
		registry_again
		refused 3 "$digest" "$mmoci" verify --remote "$ref" -f mmoci.yaml
		"$mmoci" push -q -f mmoci.yaml --date "$(date_of $days)" --repair "$ref" >repaired.ref
		same "root after the repair" "$root" "$(sed 's/.*@//' repaired.ref)"
		"$mmoci" verify --remote "$ref" -f mmoci.yaml
		"$mmoci" verify "$ref" -f mmoci.yaml
	done
}
check "distribution: a deleted package and a deleted table are named by verify --remote, and healed by push --repair" blob_lost

manifest_lost() {
	ref=$(ref_of registry)
	root=$(crane digest "$ref")
	shard=$(tail -n 1 children.txt)
	stop "$registry_pid"
	rm -r "$(dirname "$(data_of "$shard")")"
	registry_again
	refused 3 "$shard" "$mmoci" verify --remote "$ref" -f mmoci.yaml
	"$mmoci" push -q -f mmoci.yaml --date "$(date_of $days)" --repair "$ref" >repaired.ref
	same "root after the repair" "$root" "$(sed 's/.*@//' repaired.ref)"
	"$mmoci" verify "$ref" -f mmoci.yaml
}

check "distribution: a deleted shard is named, and healed" manifest_lost
