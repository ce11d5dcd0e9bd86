# 96-lists.sh: lists of exact versions of real packages, as who builds against a mirror has them: apt's choice, a line each.
#
# They are pushed mirror-first from a mirror that lacks five, lies in two and stalls in one: the snapshot is the one that a clean
# upstream gives, and the report says of each file who gave it. What is missing is named and held, and a rerun fetches that alone.
# What is newer is what apt would take.
#
# By default a base system and what docker.io needs; the time is printed. With E2E_LONG=1 300 packages and more, over lines
# of 400 kB a second a connection, and the mirror's way takes at most 1.3 of the clean one's time.
#
#	MMOCI_SEED=N  of which files are at fault
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

seed=${MMOCI_SEED:-$$}
rate=0 from=$up
upstream
if [ -n "${E2E_LONG:-}" ]; then
	rate=400000 from=$E2E_CACHE/lists-upstream
	# shellcheck disable=SC2046 # names
	"$E2E_TOP/scripts/real-upstream.sh" "$from" docker.io hello git nginx build-essential python3-pip vim-gtk3 $(base) >&2
fi
"$mmoci" key new -o site.asc >&2

cp "$from/mmoci.yaml" .
# Without docker.io and what it alone needs, which are two thirds of the bytes.
grep -v -e '^docker\.io	' -e '^containerd	' -e '^runc	' "$from/closure.tsv" >closure.tsv
# The lists: apt's choice with exact versions, of each archive its own.
for p in debian debian-security; do
	awk -F'\t' -v p="$p/" 'index($6, p) == 1 { print $1 "  " $2 }' closure.tsv >"$p.lst"
done
count=$(wc -l <closure.tsv)

# faults: five are lacked, two are lies, one stalls.
cut -f6 closure.tsv | python3 -c '
import random, sys
names = sorted(sys.stdin.read().split())
random.Random(int(sys.argv[1])).shuffle(names)
for kind, name in zip(["lack"] * 5 + ["lie"] * 2 + ["stall"], names):
    print(kind, name)' "$seed" >faults
echo "   seed $seed, $count packages; $(tr '\n' ',' <faults)"
: >none

# server NAME FAULTS: $server is the URL of one of $from, NAME.log has its requests.
server() {
	start "$1" "$E2E_TOP/scripts/e2e/faulty-mirror.py" "$from" "$work/$2" "$rate"
	eventually grep -q '^http' "$work/$1.log"
	server=$(head -n 1 "$work/$1.log")
}

# conf FILE URL [MIRROR]: a mmoci.yaml that asks for the lists.
conf() {
	{
		echo "sign: {key: site.asc}"
		echo "trust: [site.pub.asc]"
		[ -z "${3:-}" ] || printf 'mirrors:\n- {from: "%s/{path}", to: "%s/{path}"}\nstrategy: mirror-first\n' "$2" "$3"
		awk -v from="url: $from/" -v to="url: $2/" '
			index($0, from) { sub(/url: .*\//, to) }
			/^- prefix:/ { prefix = $3 }
			/^  packages:/ { print "  packages-from: " prefix ".lst\n  list: stx"; next }
			{ print }' "$work/mmoci.yaml"
	} >"$1"
}

# timed FILE COMMAND..: how long it took goes into FILE, in ms.
timed() {
	_into=$1 _began=$(date +%s%N)
	shift
	"$@"
	echo $((($(date +%s%N) - _began) / 1000000)) >"$_into"
}

server upstream none
upstream_url=$server
server mirror faults
conf clean.yaml "$upstream_url"
conf mirrored.yaml "$upstream_url" "$server"

clean() { timed clean.took "$mmoci" push -q -f clean.yaml --report clean.json oci:layout:clean; }
check "$count packages by exact version come from a clean upstream" clean
mirrored() { timed mirrored.took "$mmoci" push -q -f mirrored.yaml --report mirrored.json oci:mirrored:latest; }
check "and mirror-first from a mirror that lacks five, lies in two and stalls in one" mirrored

# A report is what the servers saw, and what the lists, apt's choice, and the pool have.
judge() {
	python3 - closure.tsv faults mirrored.json clean.json "$upstream_url" "$server" <<-'END'
		import hashlib, json, os, sys
		closure, faults, mirrored, clean, up, mirror = sys.argv[1:]
		want = {}
		for line in open(closure):
		    name, version, arch, sha, size, path = line.split()
		    want[path] = "sha256:" + sha
		at = dict(reversed(line.split()) for line in open(faults))
		bad = []
		for report in (mirrored, clean):
		    r = json.load(open(report))
		    if not r["complete"] or r["missing"]:
		        bad.append(report + ": not complete")
		    got = {f["archive"] + "/" + f["path"]: f for f in r["files"]}
		    for path, digest in want.items():
		        f = got.pop(path, None)
		        kind = at.get(path, "none") if report == mirrored else "clean"
		        place, tries = {"none": ("mirror", 1), "clean": ("upstream", 1)}.get(kind, ("upstream", 2))
		        if f is None or f["digest"] != digest or f["kind"] != place or f["tries"] != tries or not f["from"].startswith(up if place == "upstream" else mirror):
		            bad.append(f"{report}: {path}, at fault {kind}: {f}")
		        says = {"lack": "not found", "lie": "other bytes", "stall": "stalled"}.get(kind)
		        if says and f and not any(says in why for why in f.get("failures", [])):
		            bad.append(f"{report}: {path}: failures {f.get('failures')}")
		    bad += [f"{report}: {path} was not asked for" for path in got]
		print("\n".join(bad[:20]))
		sys.exit(1 if bad else 0)
	END
}
check "the report says of each file who gave it, after how many tries, with which digest" judge
same_root() {
	same root "$("$mmoci" tag digest oci:mirrored:latest | cut -d' ' -f1)" "$("$mmoci" tag digest oci:layout:clean | cut -d' ' -f1)"
	"$mmoci" verify -f mirrored.yaml --require upstream oci:mirrored:latest
}
check "the snapshot is the one that a clean upstream gives, and is proved" same_root
apts_versions() {
	"$mmoci" ls oci:mirrored:latest | awk '{ print $1 "  " $2 }' | sort >got
	awk -F'\t' '{ print $1 "  " $2 }' closure.tsv | sort >want
	diff want got
}
check "every version is the one that apt chose" apts_versions
clean_took=$(cat clean.took) took=$(cat mirrored.took)
echo "   clean $clean_took ms, from the mirror at fault $took ms: $((took * 100 / clean_took)) %"
if [ -n "${E2E_LONG:-}" ]; then
	within() { [ $((took * 10)) -le $((clean_took * 13)) ] && [ "$count" -ge 300 ]; }
	check "that takes at most 1.3 of the time" within
fi

# Three of them are nowhere: all others are uploaded and held, no tag is there, and the rerun fetches three.
registry_start v3 registry "$work/storage"
head -n 3 faults | sed 's/^[a-z]*/lack/' >three
cp three none
kept() {
	refused 1 "incomplete: 3 missing; no tag was moved" "$mmoci" push -q -f clean.yaml --keep-going --report kept.json "$registry/site/base:latest"
	while read -r _ path; do
		grep "listed, but " refused.err | grep -qF "$upstream_url/$path: not found upstream; there is"
	done <three
	grep -o 'latest-ckpt-[0-9a-f]*-0' refused.err >held
	same tags "$("$mmoci" tag list "$registry/site/base" | grep -c '^latest ' || :)" 0
	"$mmoci" tag list "$registry/site/base" | grep -qF "$(cat held)"
}
check "three that are nowhere are named with the versions there are, the rest is held by a checkpoint" kept
: >none
rerun() {
	: >upstream.log
	"$mmoci" push -q -f clean.yaml --keep-going --report rerun.txt "$registry/site/base:latest"
	grep -q '^upstream: 3 files, ' rerun.txt
	same "pool files that were asked for" "$(grep -c ' [a-z-]*/pool/' upstream.log)" 3
	same root "$("$mmoci" tag digest "$registry/site/base:latest" | cut -d' ' -f1)" "$("$mmoci" tag digest oci:layout:clean | cut -d' ' -f1)"
	not grep -qF "$(cat held)" <<-END
		$("$mmoci" tag list "$registry/site/base")
	END
}
check "and the rerun fetches these three alone, moves the tag, and removes the checkpoint" rerun

# What is newer is what apt would take.
aged() {
	for p in debian debian-security; do
		cp $p.lst $p.good
		awk 'NR % 3 == 0 { print $1 "  0~old" ; next } { print }' $p.good >$p.lst
	done
	"$mmoci" lock -f clean.yaml --outdated -o new.lst >outdated
	for p in debian debian-security; do cp $p.good $p.lst; done
	awk '/->/ { print $2, $6 }' outdated | sort -u >proposed
	# shellcheck disable=SC2046 # names
	APT_CONFIG=$from/.apt/own.conf apt-cache policy $(cut -d' ' -f1 proposed) | awk '/^[^ ].*:$/ { sub(":", ""); name = $1 } /Candidate:/ { print name, $2 }' | sort -u >policy
	diff policy proposed
	[ "$(wc -l <proposed)" -ge 15 ]
	while read -r name version; do dpkg --compare-versions "$version" gt 0~old && grep -q "^$name  $version  # was 0~old" new.lst; done <proposed
}
check "lock --outdated proposes what apt would take" aged
