# 58-failed-sync.sh: a disk that takes bytes and loses them when they are written back. After a failed sync serve
# believes nothing of that batch, and says which directory it was.
#
# The disk is ext4 in a sparse file on a tmpfs that is full: what was never written before cannot be written now, which
# the kernel finds out after the program's write(2) went well. Then the page cache is dropped, as other programs do to it.
set -eu
# In a mount namespace of its own: a copy of the mount in somebody else's would keep the disk alive.
[ -n "${unshared:-}" ] || unshared=1 exec unshare -m sh "$0"
. "$E2E_TOP/scripts/e2e/lib.sh"

ram=$work/ram disk=$work/disk
mkdir -p "$ram" "$disk"
mount -t tmpfs -o size=64M tmpfs "$ram"
echo "$ram" >>mounts
truncate -s 128M "$ram/disk.img"
mkfs.ext4 -q -F -O ^has_journal -E nodiscard,lazy_itable_init=0 "$ram/disk.img"
mount -o loop "$ram/disk.img" "$disk"
echo "$disk" >>mounts

"$mmoci" key new -o site.asc >&2
"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 1 80 200000
cat >mmoci.yaml <<-END
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- prefix: own
	  mode: curated
	  debs: $work/debs
END
registry_start v3 registry "$work/storage"
"$mmoci" push -q -f mmoci.yaml --date 2026-01-01T00:00:00Z "$registry/site/mirror:day" >day.ref
"$mmoci" pull "$registry/site/mirror:day" --keyring site.pub.asc -o tree >&2
find tree/own/pool -type f | LC_ALL=C sort >wanted.txt

# drop_cache: what the store holds has to come from the disk. What is open stays.
drop_cache() { find "$disk/serve/store" -type f -exec dd if={} iflag=nocache count=0 status=none \; ; }
# right: every file as it was pushed.
right() { while read -r f; do curl -sf "$serve/${f#tree/}" | cmp - "$f" || exit 1; done <wanted.txt; }
# kept: how many files have their final name.
kept() { find "$disk/serve/store/blobs" -type f -size +100k | wc -l; }
full() { ! dd if=/dev/zero of="$ram/fill" bs=64k status=none 2>/dev/null; }
some_kept() { [ "$(kept)" -gt 0 ]; }
all_kept() { [ "$(kept)" = "$(wc -l <wanted.txt)" ]; }

serve_start serve --state "$disk/serve" -f mmoci.yaml "$registry/site/mirror:day"
eventually curl -sf "$serve/readyz"

# The disk itself does what is said above.
loses() {
	cp "$(head -n 1 wanted.txt)" "$disk/known"
	sync "$disk/known"
	full
	cp "$(head -n 1 wanted.txt)" "$disk/lost" # the write goes well
	not sync "$disk/lost"
	dd if="$disk/lost" iflag=nocache count=0 status=none
	not cmp "$disk/lost" "$(head -n 1 wanted.txt)"
	cmp "$disk/known" "$(head -n 1 wanted.txt)"
	rm "$disk/lost"
}
check "the disk takes bytes, fails the sync and has lost them" loses

after_failed_sync() {
	right # while they are fetched
	sleep 3
	curl -s "$serve/readyz"
	cat serve.log
	drop_cache
	right
	same "files with a final name" 0 "$(kept)"
	drop_cache
	right
	grep "sync $disk/serve/store: " serve.log
	curl -s "$serve/readyz" >readyz.txt
	grep "sync $disk/serve/store: " readyz.txt
}
check "after a failed sync: every answer is right, nothing got its name, log and /readyz say which directory" after_failed_sync

healed() {
	rm "$ram/fill"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		right
		all_kept && break
		sleep 2
	done
	all_kept
	drop_cache
	right
	find "$disk/serve/store/blobs" -type f | while read -r f; do same "$f" "$(basename "$f")" "$(sha256sum <"$f" | cut -d' ' -f1)"; done
	curl -s "$serve/readyz" >readyz.txt
	not grep sync readyz.txt
}
check "when the disk takes more again, files are fetched anew and kept" healed

# --- what is written to a host: pull -o and pull --extract

stop "$pid"
packages=$(sed 's,.*/,,; s,_.*,,' wanted.txt | LC_ALL=C sort -u | paste -sd,)
to_tree() { "$mmoci" pull -q "$registry/site/mirror:day" --keyring site.pub.asc -o "$disk/$out"; }
to_debs() { "$mmoci" pull -q "$registry/site/mirror:day" --keyring site.pub.asc --extract "$packages" --host-status none -o "$disk/$out"; }
# believed: the packages under a final name are what they should be, as the disk has them.
believed() {
	find "$disk/$out" -name 'package*.deb' -type f >out.txt
	while read -r f; do
		dd if="$f" iflag=nocache count=0 status=none
		cmp "$f" "debs/${f##*/}" || exit 1
	done <out.txt
}
# thrown_away DIR HOW: what a failed sync lost has neither a final nor a temporary name; the same command again completes.
# What one leaves stays: blocks that were written once can be written again.
thrown_away() {
	out=$1
	shift
	full
	truncate -s -4M "$ram/fill" # for the first of it
	refused 1 "sync $disk/$out: " "$1"
	believed
	same "packages with a final name" 0 "$(wc -l <out.txt)"
	same "temporary names" "" "$(find "$disk/$out" -name '.mmoci-tmp-*')"
	refused 1 "$disk/$out" "$1" # on a disk that is no better
	believed
	rm "$ram/fill"
	"$1"
	believed
	same "packages" "$(wc -l <wanted.txt)" "$(wc -l <out.txt)"
}
check "pull -o: after a failed sync nothing has a name, the message says where; a rerun completes" thrown_away tree to_tree
check "pull --extract: the same" thrown_away debs to_debs
