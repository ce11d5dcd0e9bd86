# 58-interrupted.sh: SIGINT and SIGTERM at seeded instants of push and copy, into a layout, an oci-archive and a registry
# (distribution): exit code 130 and what has become of the tag, within half a second; the tag is whole; the rerun completes.
# E2E_LONG=1 takes more instants.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${SEED:-$(date +%s)}
instants=3
[ -z "${E2E_LONG:-}" ] || instants=40
echo "seed $seed, $instants instants of each"

"$mmoci" key new -o site.asc >&2
mkdir -p debs
for i in $(seq 60); do
	mkdir -p "tree$i/DEBIAN" "tree$i/usr/share/p$i"
	printf 'Package: p%s\nVersion: 1\nArchitecture: %s\nMaintainer: Site <site@example.org>\nDescription: of a test\n' "$i" "$arch" >"tree$i/DEBIAN/control"
	head -c 800000 /dev/urandom >"tree$i/usr/share/p$i/data"
	dpkg-deb --root-owner-group -Znone -b "tree$i" debs >/dev/null
	rm -rf "tree$i"
done
for what in few all; do
	mkdir -p "debs-$what"
	ln debs/*.deb "debs-$what/"
	printf 'sign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs-%s}\n' $what >$what.yaml
done
rm -f debs-few/p[2-9]*
"$mmoci" push -q -f few.yaml --date 2026-01-01T00:00:00Z oci:source:few >few.ref
"$mmoci" push -q -f all.yaml --date 2026-01-02T00:00:00Z oci:source:all >all.ref
few=$(sed 's/.*@//' few.ref) all=$(sed 's/.*@//' all.ref)
registry_start v3 registry "$work/storage"

# instant N: seconds of $whole, by seed and N.
instant() { awk -v s="$seed" -v n="$1" -v t="$whole" 'BEGIN { srand(s + n); printf "%.3f\n", 0.02 + rand() * t * 0.8 }'; }

# place KIND N: $ref is a fresh place of that kind, which names the old snapshot.
place() {
	rm -rf target target.tar "$XDG_STATE_HOME" # what was seen there, too
	case $1 in
	layout) ref=oci:target:day ;;
	archive) ref=oci-archive:target.tar:day ;;
	registry) ref=$registry/site/n$2:day ;;
	esac
	"$mmoci" copy -q oci:source:few "$ref" >/dev/null
}

# write VERB: to $ref.
write() {
	case $1 in
	push) set -- push -f all.yaml --date 2026-01-02T00:00:00Z "$ref" ;;
	copy) set -- copy oci:source:all "$ref" ;;
	esac
	"$mmoci" "$@"
}
named() { "$mmoci" verify -q -f all.yaml "$ref" >/dev/null && "$mmoci" tag list --json "$ref" | jq -r '.[] | select(.tag == "day") | .digest'; }

# interrupted VERB KIND
interrupted() {
	place "$2" "$1-whole"
	begin=$(date +%s.%N)
	write "$1" >/dev/null
	whole=$(date +%s.%N | awk -v b="$begin" '{ print $1 - b }')
	hits=0
	for n in $(seq $instants); do
		place "$2" "$1-$n"
		at=$(instant "$n")
		signal=INT
		[ $((n % 2)) = 0 ] || signal=TERM
				python3 - "$at" $signal said.txt "$0" >took.txt <<-END "$mmoci" $(case $1 in push) echo "push -f all.yaml --date 2026-01-02T00:00:00Z $ref" ;; copy) echo "copy oci:source:all $ref" ;; esac)
			import signal, subprocess, sys, time
			at, name, said = float(sys.argv[1]), sys.argv[2], sys.argv[3]
			p = subprocess.Popen(sys.argv[5:], stdout=subprocess.DEVNULL, stderr=open(said, "w"))
			try:
			    p.wait(at)
			    print(p.returncode, 0)
			except subprocess.TimeoutExpired:
			    p.send_signal(getattr(signal, "SIG" + name))
			    sent = time.time()
			    print(p.wait(), time.time() - sent)
		END
		read -r code took <took.txt
		now=$(named)
		echo "$signal after $at of $whole s: exit $code after $took s, the tag names $now; $(tail -n 1 said.txt)"
		case $code in
		0) same "the tag" "$all" "$now" ;;
		130)
			hits=$((hits + 1))
			same "the tag" "$few" "$now"
			grep -q '^mmoci: interrupted; .*the same command goes on from here' said.txt
			awk -v t="$took" 'BEGIN { exit t > 0.5 }'
			;;
		*) return 1 ;;
		esac
		write "$1" >/dev/null
		same "the tag after the rerun" "$all" "$(named)"
	done
	[ $hits -gt 0 ] || { echo "never hit"; return 1; }
}
for kind in layout archive registry; do
	for verb in push copy; do
		check "$verb to a $kind, interrupted: 130, the tag is what it was, and the rerun completes" interrupted $verb $kind
	done
done

# What was lost in the middle of a layout, copy puts again, and says how much.
repaired() {
	ref=oci:target:day
	rm -rf target
	write copy >/dev/null
	lost=$(cd target/blobs/sha256 && find . -size +700k | sort | head -n 3)
	(cd target/blobs/sha256 && rm $lost)
	refused 3 missing "$mmoci" verify -q --remote -f all.yaml "$ref"
	"$mmoci" copy --repair oci:source:all "$ref" 2>said.txt
	cat said.txt
	grep 'changed: false; put again what was lost: 3 files, 2.5 MB' said.txt
	same "the tag" "$all" "$(named)"
}
check "copy --repair puts again what was lost, and says it in files and bytes" repaired
