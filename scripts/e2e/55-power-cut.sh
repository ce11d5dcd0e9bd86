# 55-power-cut.sh: what was not synced is lost, at any instant; what was reported as done is there.
#
# The disk is a file behind a loop device. ext4 is told to go down without flushing its log (EXT4_IOC_SHUTDOWN), so that
# after the next mount the disk holds what had reached it, and nothing else.
set -eu
# In a mount namespace of its own: a copy of the mount in somebody else's would keep the dead disk alive.
[ -n "${unshared:-}" ] || unshared=1 exec unshare -m sh "$0"
. "$E2E_TOP/scripts/e2e/lib.sh"

disk=$work/disk
mkdir -p "$disk"
truncate -s 192M disk.img
mkfs.ext4 -q -F disk.img
mount_disk() {
	mount -o loop disk.img "$disk"
	grep -qx "$disk" mounts || echo "$disk" >>mounts
}
# power_cut: at once.
power_cut() {
	python3 - "$disk" <<-'END'
		import fcntl, os, struct, sys
		shutdown, without_log_flush = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
		fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), shutdown, struct.pack("I", without_log_flush))
	END
}
# boot [PID]: ends what ran; the disk is mounted again.
boot() {
	[ -z "${1:-}" ] || { kill -9 "$1" 2>/dev/null || :; wait "$1" 2>/dev/null || :; }
	umount "$disk"
	mount_disk
}
mount_disk

# The simulation itself: what is synced stays, what is not is lost.
simulated() {
	echo kept >"$disk/synced" && sync "$disk/synced"
	echo lost >"$disk/unsynced"
	power_cut
	boot
	same synced kept "$(cat "$disk/synced")"
	not test -s "$disk/unsynced"
	rm -f "$disk/synced" "$disk/unsynced"
	sync
}
check "the power cut loses what is not synced, and nothing else" simulated

"$mmoci" key new -o site.asc >&2
# on DAY DIR: a configuration of the .debs of that day.
on() {
	"$E2E_TOP/scripts/e2e/synthetic.py" "debs$1" "$arch" "$1" 150 20000
	cat >"day$1.yaml" <<-END
		sign: {key: $work/site.asc}
		trust: [$work/site.pub.asc]
		archives:
		- prefix: own
		  mode: curated
		  debs: $work/debs$1
	END
}
on 1
on 4
# exec_push DAY REF: takes the place of the shell, so that it is the program that is killed.
exec_push() { XDG_STATE_HOME=$work/xdg-$1 exec "$mmoci" push -q -f "day$1.yaml" --date "2026-01-0$1T00:00:00Z" "$2"; }
push() { (exec_push "$@"); }
push 1 oci:good:day >good1.ref
push 4 oci:good:day >good4.ref
digest() { sed 's/.*@//' "$1"; }
verified() { "$mmoci" verify "$1" -f day1.yaml; }
# instants COUNT SECONDS: random ones, spread over that time.
instants() { python3 -c 'import random, sys; n, t = int(sys.argv[1]), float(sys.argv[2]); print(*["%.3f" % (t * (i + random.random()) / n) for i in range(n)])' "$1" "$2"; }

layout_cut() {
	t=$(date +%s.%N)
	push 1 "oci:$disk/layout:day"
	lasts=$(echo "$t $(date +%s.%N)" | awk '{ print $2 - $1 }')
	sync
	cp -a "$disk/layout" before
	for t in $(instants 12 "$lasts"); do
		(exec_push 4 "oci:$disk/layout:day") >cut.ref 2>cut.log &
		pid=$!
		sleep "$t"
		power_cut
		boot $pid
		"$mmoci" tag list "oci:$disk/layout:day" >tags.txt
		now=$(awk '$1 == "day" { print $2 }' tags.txt)
		echo "cut after $t of $lasts s: $(find "$disk/layout/blobs" -type f | wc -l) blobs, the tag names $now"
		[ "$now" = "$(digest good1.ref)" ] || [ "$now" = "$(digest good4.ref)" ]
		verified "oci:$disk/layout:day"
		verified "oci:$disk/layout:$(sed -n 's/^\(day-20260101[^ ]*\).*/\1/p' tags.txt)"
		push 4 "oci:$disk/layout:day" >again.ref
		power_cut # right after it said that it is done
		boot
		same "the tag after the rerun" "$(digest good4.ref)" "$("$mmoci" tag list "oci:$disk/layout:day" | awk '$1 == "day" { print $2 }')"
		verified "oci:$disk/layout:day"
		rm -rf "$disk/layout"
		cp -a before "$disk/layout"
		sync
	done
	rm -rf "$disk/layout"
}
check "layout: 24 cuts; the old tag is whole, the rerun finishes, a finished push survives a cut at once" layout_cut

lock_cut() {
	lock() { exec "$mmoci" lock -f "day$1.yaml" --date "2026-01-0$1T00:00:00Z" -o "$2"; }
	(lock 1 one.lock)
	(lock 4 four.lock)
	for n in 1 2 3 4 5; do
		cp one.lock "$disk/mmoci.lock"
		sync
		(lock 4 "$disk/mmoci.lock")
		power_cut
		boot
		cmp four.lock "$disk/mmoci.lock" # it was written, so it is there
		cp one.lock "$disk/mmoci.lock"
		sync
		lock 4 "$disk/mmoci.lock" &
		pid=$!
		sleep "0.0$((n * 2))"
		power_cut
		boot $pid
		cmp one.lock "$disk/mmoci.lock" || cmp four.lock "$disk/mmoci.lock"
	done
}
check "lock: 10 cuts; the file is the old one or the new one, and the new one once it is written" lock_cut

# Who has seen a statement does not take an older one; a power cut is no way around that.
memory_cut() {
	pull() { XDG_STATE_HOME=$disk/state "$mmoci" pull "$1" --keyring site.pub.asc -o "$2"; }
	push 1 oci:turned:day
	pull oci:turned:day taken1
	push 4 oci:turned:day
	sync
	pull oci:turned:day taken4
	power_cut
	boot
	rm -rf turned
	push 1 oci:turned:day
	refused 3 "seen before was" pull oci:turned:day taken-back
	rm -rf "$disk/state"
}
check "statements seen: an older one is refused after a cut, too" memory_cut

pulled_cut() {
	"$mmoci" pull oci:good:day --keyring site.pub.asc -o tree
	"$mmoci" pull oci:good:day --keyring site.pub.asc -o "$disk/tree"
	power_cut
	boot
	diff -r tree "$disk/tree"
	rm -rf "$disk/tree"
	for t in $(instants 6 0.3); do
		"$mmoci" pull oci:good:day --keyring site.pub.asc -o "$disk/tree" &
		pid=$!
		sleep "$t"
		power_cut
		boot $pid
		(cd "$disk" && { [ ! -d tree ] || find tree -type f ! -name '.*'; }) | while read -r f; do cmp "$f" "$disk/$f" || exit 1; done
		"$mmoci" pull oci:good:day --keyring site.pub.asc -o "$disk/tree"
		diff -r tree "$disk/tree"
		rm -rf "$disk/tree"
		sync
	done
}
check "pull -o: 7 cuts; nothing half under a final name, the rerun finishes, a finished pull survives" pulled_cut

# What a server keeps is believed after a restart only where it is right.
store_cut() {
	registry_start v3 registry "$work/storage"
	there=$pid
	push 4 "$registry/site/mirror:day"
	find tree/own/pool -type f | LC_ALL=C sort | head -n 60 >wanted.txt
	mkdir "$disk/serve"
	sync
	served() {
		rm -f serve.log # the last one's also says where it listens
		"$mmoci" serve --listen 127.0.0.1:0 --state "$disk/serve" "$registry/site/mirror:day" -f day4.yaml >serve.access 2>serve.log &
		server=$!
		echo $server >>pids
		eventually grep -q 'listening on ' serve.log
		url=http://$(listening serve.log)
		eventually curl -sf "$url/readyz"
		while read -r f; do curl -sf "$url/${f#tree/}" | cmp - "$f"; done <wanted.txt
	}
	for t in 0.3 2.5; do # before and after the batch is synced
		served
		sleep $t
		power_cut
		boot $server
		echo "$(find "$disk/serve" -type f -size +15k | wc -l) of 60 files are kept"
	done
	served
	stop $server
	stop $there
}
check "store of serve: 2 cuts; everything it answers afterwards is right" store_cut
