# 58-year.sh: a year of days, in each of which one package of a hundred and one image of four change: what a layout and
# a registry hold of it, what a day writes, and what is left when a month of it is kept.
#
# A sample of the days by default; E2E_LONG=1: 365, and some days of 4,000 packages. What is counted are files on the
# disk, the registry's own among them, and what the documents name, which are read by another program than mmoci.
#
# A day writes core, root and the shards in which something changed. Shards have at most 400 files, so that of many
# packages that change anywhere, more manifests are written: the bar is for an archive like that of docker.io or a site's own.
#
#	MMOCI_SEED=N  of the packages and of what changes
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

seed=${MMOCI_SEED:-$$}
days=20 kept=5 count=600
[ -z "${E2E_LONG:-}" ] || { days=365 kept=30; }
echo "   seed $seed: $days days, $count packages, 4 images"

"$mmoci" key new -o site.asc >&2
{
	echo "sign: {key: $work/site.asc}"
	echo "trust: [$work/site.pub.asc]"
	echo "archives: [{prefix: own, mode: curated, debs: $work/site/debs}]"
	echo "images:"
	for i in 0 1 2 3; do echo "- {image: 'oci:$work/site/images:app$i', as: 'registry.example.org/app$i:1'}"; done
} >mmoci.yaml
registry_start registry registry "$work/storage"
layout=oci:$work/layout:noble remote=$registry/site/mirror:noble
revisions=$work/storage/docker/registry/v2/repositories/site/mirror/_manifests/revisions/sha256

bytes() { find "$@" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%d", s }'; }
date_of() { date -u -d "2025-01-01 $1 days" +%FT00:00:00Z; }

day() {
	"$E2E_TOP/scripts/e2e/year.py" site "$arch" "$seed" "$count" "$1"
	"$mmoci" push -q -f mmoci.yaml --date "$(date_of "$1")" "$layout" >layout.ref
	"$mmoci" push -q -f mmoci.yaml --date "$(date_of "$1")" "$remote" >remote.ref
	same "root digest" "$(sed 's/.*@//' layout.ref)" "$(sed 's/.*@//' remote.ref)"
	sed 's/.*@//' remote.ref >"roots.$1"
	# Every manifest that the registry holds of the snapshot's repository, each with all its tags once.
	find "$revisions" -mindepth 1 -maxdepth 1 -printf '%f\n' | LC_ALL=C sort >manifests.new
	LC_ALL=C comm -13 manifests manifests.new >manifests.day
	wc -l <manifests.day >>written
	mv manifests.new manifests
}

# year DAYS
year() {
	: >manifests
	: >written
	n=1
	while [ $n -le "$1" ]; do
		day $n
		n=$((n + 1))
	done
}
began=$(date +%s)
check "$days days, pushed to a layout and to a registry, with the same digests" year $days
echo "   $((2 * days)) pushes in $(($(date +%s) - began)) s"

# unique DAY..: the bytes of what the site made on these days, each digest once: .debs, layers, configs, manifests.
unique() { for _d; do cat "site/days/$_d"; done | LC_ALL=C sort -u | awk '{ s += $2 } END { printf "%d", s }'; }

# named DAY..: the bytes of all blobs that the snapshots of these days name, each digest once: with the archive's indices,
# tables, locks and statements.
named() {
	for _d; do cat "roots.$_d"; done | python3 -c '
import json, sys
blobs, read = {}, set()
def load(digest):
    read.add(digest)
    with open("layout/blobs/" + digest.replace(":", "/")) as f:
        return json.load(f)
for root in sys.stdin.read().split():
    for m in load(root)["manifests"]:
        if m["digest"] not in read:
            document = load(m["digest"])
            for d in [document["config"]] + document["layers"]:
                blobs[d["digest"]] = d["size"]
print(sum(blobs.values()))'
}

# within WHAT BYTES UNIQUE DAYS: what is stored is at most 1.02 of it and 300 kB a day.
within() {
	_most=$(($3 + $3 / 50 + 300000 * $4))
	echo "   $1: $2 bytes of $3 unique ones, $((($2 - $3) / $4)) a day beside them; at most $_most" | tee -a figures
	[ "$2" -le "$_most" ]
}
figures() { cat figures; : >figures; }
: >figures
# shellcheck disable=SC2046 # numbers
own=$(unique $(seq $days)) all=$(named $(seq $days))
check "the layout holds at most 1.02 of the unique bytes and 300 kB a day" within "layout" "$(bytes layout)" "$own" "$days"
check "the registry holds at most 1.02 of the unique bytes and 300 kB a day" within "registry" "$(bytes storage)" "$own" "$days"

# The first day writes all shards.
manifests_a_day() {
	tail -n +2 written | sort -n | awk '{ s += $1; v[NR] = $1 } END {
		printf "   manifests a day: %.1f on average, %d at most\n", s / NR, v[NR] }' | tee -a figures
	[ "$(tail -n +2 written | sort -n | tail -n 1)" -le 6 ]
}
check "a day writes at most 6 manifests beside those of images" manifests_a_day
echo "   with indices, tables and locks there are $all unique bytes: the layout holds $((($(bytes layout) - all) / days)) a day beside them" >>figures
echo "   disk blocks: $(du -sk layout | cut -f1) KiB, $(du -sk storage | cut -f1) KiB" >>figures
figures

# --- a part of the days is kept

keep() {
	s=$(date +%s%N)
	"$mmoci" tag prune "$1" --keep-daily $kept --min-age 0s >prune.out
	took=$((($(date +%s%N) - s) / 1000000))
	echo "   prune to $kept days: $took ms, $(wc -l <prune.out) lines; at most 60000" | tee -a figures
	[ $took -le 60000 ]
}
first=$((days - kept + 1))
check "prune of the layout to $kept days, in 60 s" keep "$layout"
check "prune of the registry to $kept days, in 60 s" keep "$remote"
figures
stop "$pid"
collect() { registry garbage-collect --delete-untagged registry.yml; }
check "the registry's own garbage collection" collect
registry_start registry registry "$work/storage" "$registry"

# shellcheck disable=SC2046 # numbers
left=$(unique $(seq $first $days))
check "the layout shrinks to what is kept" within "layout" "$(bytes layout)" "$left" "$kept"
check "the registry shrinks to what is kept" within "registry" "$(bytes storage)" "$left" "$kept"
figures

# whole REF: every kept day is there in every byte, under its digest, with its images.
whole() {
	n=$first
	while [ $n -le $days ]; do
		"$mmoci" verify -q "${1%:noble}@$(cat roots.$n)" --keyring site.pub.asc >verified
		grep -c '^image ' verified | { read -r images; same "images" 4 "$images"; }
		n=$((n + 1))
	done
}
in_registry() {
	n=$first
	while [ $n -le $days ]; do
		"$mmoci" verify -q --remote "$registry/site/mirror@$(cat roots.$n)" --keyring site.pub.asc
		n=$((n + 1))
	done
	"$mmoci" verify -q "$registry/site/mirror@$(cat roots.$first)" --keyring site.pub.asc
	"$mmoci" verify -q "$registry/site/mirror@$(cat roots.$days)" --keyring site.pub.asc
}
check "every kept day verifies in the layout, in every byte" whole "oci:$work/layout:noble"
check "every kept day verifies at the registry; the first and the last in every byte" in_registry

# Images of the kept days, as other people's programs find them: the last by its name, all by their digests.
pulled() {
	n=$first
	: >images
	while [ $n -le $days ]; do
		"$mmoci" ls "oci:$work/layout@$(cat roots.$n)" | awk '$3 == "image" { print $1, $4 }' >>images
		n=$((n + 1))
	done
	sort -u images | while read -r image digest; do
		crane validate --insecure --remote "$registry/site/mirror/images/${image#*/}@$digest"
	done
	tail -n 4 images | while read -r image digest; do
		same "$image" "$digest" "$(crane digest --insecure "$registry/site/mirror/images/${image#*/}:1")"
		rm -rf copied
		skopeo copy -q --all --preserve-digests --src-tls-verify=false "docker://$registry/site/mirror/images/${image#*/}:1" oci:copied:x
		rm -rf copied
		skopeo copy -q --all --preserve-digests "oci:$work/layout:${image#*/}:1" oci:copied:x
	done
	echo "$(sort -u images | wc -l) images"
}
check "the images of the kept days: crane validates each by digest, skopeo copies the last by name" pulled

# gone: what only removed days had is in neither place.
gone() {
	for n in $(seq $first $days); do cut -d' ' -f1 "site/days/$n"; done | LC_ALL=C sort -u >stays
	for n in $(seq 1 $((first - 1))); do cut -d' ' -f1 "site/days/$n"; done | LC_ALL=C sort -u | LC_ALL=C comm -23 - stays >goes
	find layout/blobs storage/docker/registry/v2/blobs -type f | sed 's,/data$,,; s,.*/,,' | LC_ALL=C sort -u >there
	LC_ALL=C comm -12 goes there >left.over
	LC_ALL=C comm -23 stays there >lost
	echo "$(wc -l <goes) go, $(wc -l <stays) stay"
	[ "$(wc -l <goes)" -gt 0 ]
	same "left over" 0 "$(wc -l <left.over)"
	same "lost" 0 "$(wc -l <lost)"
}
check "nothing that was removed is there, all that is kept is" gone

# --- a large archive, figures only

if [ -n "${E2E_LONG:-}" ]; then
	stop "$pid"
	rm -rf site layout storage
	count=4000
	registry_start registry registry "$work/storage" "$registry"
	year 10
	# shellcheck disable=SC2046 # numbers
	echo "   $count packages, 10 days: manifests a day $(tail -n +2 written | tr '\n' ' '); layout $(bytes layout) bytes of $(named $(seq 10)) unique ones"
fi
