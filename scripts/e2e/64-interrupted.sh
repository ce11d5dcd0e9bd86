# 64-interrupted.sh: pull, copy and install under kill -9 at instants all through their run, and on disks that are full:
# nothing half under a final name, a rerun completes, and asks for what is missing only.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
kills=6

# --- ten packages, each on the next, 24 MB in all, at a slow registry

"$mmoci" key new -o site.asc >&2
before=
for i in 0 1 2 3 4 5 6 7 8 9; do
	mkdir -p "tree$i/DEBIAN" "tree$i/usr/share/p$i" debs
	printf 'Package: p%s\nVersion: 1\nArchitecture: %s\nMaintainer: Site <site@example.org>\n%sDescription: of a test\n' $i "$arch" "${before:+Depends: $before
}" >"tree$i/DEBIAN/control"
	head -c 2400000 /dev/urandom >"tree$i/usr/share/p$i/data"
	printf '#!/bin/sh\n: >/configured-p%s\n' $i >"tree$i/DEBIAN/postinst"
	chmod 755 "tree$i/DEBIAN/postinst"
	dpkg-deb --root-owner-group -Znone -b "tree$i" debs >/dev/null
	before=p$i
done
printf 'sign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >mmoci.yaml
"$mmoci" push -q --date 2026-01-01 oci:layout:day >root.txt
"$E2E_TOP/scripts/e2e/slow-registry.py" layout slow.log >slow.address &
echo $! >>pids
eventually test -s slow.address
ref=$(cat slow.address)/site/mirror:day
quick() { rm -f slow.log.pace; }
slow() { echo 0.012 >slow.log.pace; }
sent() { awk -v after="$1" 'NR > after && /blobs/ { n += $3 } END { print n + 0 }' slow.log; }

# killed_at PART-OF-$kills COMMAND..: kill -9 after that part of $whole seconds.
killed_at() {
	_at=$(awk -v i="$1" -v n=$kills -v t="$whole" 'BEGIN { print t * (i - 0.5) / n }')
	shift
	timeout -s KILL "$_at" "$@" || :
}

# took COMMAND..: $whole is how long it takes.
took() {
	_begin=$(date +%s.%N)
	"$@"
	whole=$(date +%s.%N | awk -v b="$_begin" '{ print $1 - b }')
	echo "undisturbed: $whole s"
}

# whole_files DIR TREE: what has a final name in DIR is what it is in TREE.
whole_files() {
	(cd "$1" && find . -type f ! -name '.mmoci-tmp-*') | while read -r f; do
		cmp "$1/$f" "$2/$f" || echo half >half
	done
	! [ -e half ]
}

# resumed DIR TREE COMMAND..: killed all through; in DIR nothing is half; the rerun makes it TREE, and of the bytes at
# most what was on its way is sent twice.
resumed() {
	_dir=$1 _tree=$2
	shift 2
	slow
	lines=$(wc -l <slow.log)
	took "$@"
	undisturbed=$(sent "$lines")
	mv "$_dir" "$_tree"
	again=0
	for i in $(seq $kills); do
		rm -rf "$_dir"
		lines=$(wc -l <slow.log)
		slow
		killed_at "$i" "$@"
		mkdir -p "$_dir"
		left=$(find "$_dir" -name '.mmoci-tmp-*' -size +64k | wc -l)
		whole_files "$_dir" "$_tree"
		sleep 0.1 # the registry sees that nobody reads
		at_kill=$(sent "$lines")
		quick
		"$@" >/dev/null
		diff -r "$_tree" "$_dir"
		all=$(sent "$lines")
		echo "killed after $at_kill bytes, $left parts; with the rerun $all, undisturbed $undisturbed"
		[ "$all" -le $((undisturbed + 4000000)) ]
		[ "$left" = 0 ] || again=1
	done
	same "kills that left parts of files" 1 $again
	awk '$2 > 0' slow.log | head -n 3 | grep blobs
}
extracted() { resumed out out.whole "$mmoci" pull "$ref" --extract p9 --host-status none -o out; }
check "pull --extract killed: nothing half, and the rerun asks for the rest by Range" extracted
tree() { resumed tree tree.whole "$mmoci" pull "$ref" -o tree; }
check "pull -o killed: nothing half, and the rerun asks for the rest by Range" tree

# told: what is said meanwhile, to programs and on a terminal.
told() {
	echo 0.05 >slow.log.pace
	"$mmoci" pull "$ref" -o told --json >told.json 2>told.events
	jq -e '.event' told.events >/dev/null
	[ "$(grep -c '"event":"progress"' told.events)" -ge 2 ]
	jq -s '[.[] | select(.allFiles)] | (map(.bytes) | . == sort) and (map(.bytes <= .allBytes and .allBytes > 20000000) | all) and (last | .bytes > 1000000)' told.events |
		grep -x true
	jq -e '.files > 10 and .bytes > 20000000 and .reusedBytes == 0' told.json
	rm -rf told
	script -qec "$mmoci pull $ref --extract p9 --host-status none -o told" typed >/dev/null
	quick
	tr '\r' '\n' <typed | grep '^.\[K[0-9]* of 10 files, .* MB of .* MB, .*/s, .* left'
	tr '\r' '\n' <typed | grep '^told/p9_1_'
	rm -rf told
}
check "pull tells how far it is: lines of JSON, and one line on a terminal" told

# whole_blobs LAYOUT: every blob is what its name says.
whole_blobs() {
	[ ! -d "$1/blobs/sha256" ] || (cd "$1/blobs/sha256" && find . -type f ! -name '*mmoci-tmp-*' -printf '%f  %f\n') >blobs.txt
	[ ! -s blobs.txt ] || (cd "$1/blobs/sha256" && sha256sum --quiet -c) <blobs.txt
}
copied() {
	digest=$(sed 's/.*@//' root.txt)
	slow
	took "$mmoci" copy "$ref" oci:copy:day
	for i in $(seq $kills); do
		rm -rf copy copy.tar
		slow
		killed_at "$i" "$mmoci" copy "$ref" oci:copy:day
		whole_blobs copy
		killed_at "$i" "$mmoci" copy "$ref" oci-archive:copy.tar:day
		[ ! -e copy.tar ] || tar tf copy.tar
		quick
		for d in oci:copy:day oci-archive:copy.tar:day; do
			"$mmoci" copy "$ref" "$d" | grep "@$digest"
			"$mmoci" verify -q "$d"
		done
		same "left in the layout" "" "$(find copy . -maxdepth 1 -name '*mmoci-tmp-*')"
	done
}
check "copy killed: no half blob, no half archive, and the rerun has the same digest" copied

# --- install

# host NAME: $root is a host with a shell and nothing else.
host() {
	root=$work/host-$1
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/cache" "$root/bin" "$root/dev" "$root/usr"
	: >"$root/var/lib/dpkg/status"
	cp "$(command -v busybox)" "$root/bin/sh"
}
export DPKG_FORCE=bad-path,unsafe-io
audit() { dpkg --root="$root" --audit; }
installed() {
	quick
	host whole
	took "$mmoci" install --ref "$ref" --root "$root" p9
	for i in $(seq $kills); do
		rm -rf "$root"
		host "killed$i"
		killed_at "$i" "$mmoci" install --ref "$ref" --root "$root" p9
		# A dpkg that it had called works on, or is killed as well.
		[ $((i % 2)) = 0 ] || for p in /proc/[0-9]*; do
			tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -q "^[^ ]*dpkg .*--root=$root " && kill -9 "${p#/proc/}" || :
		done
		echo "killed with $(grep -c '^Status: install ok installed' "$root/var/lib/dpkg/status" || :) of 10 installed"
		eventually "$mmoci" install --ref "$ref" --root "$root" p9
		same "dpkg --audit" "" "$(audit)"
		same "installed" 10 "$(grep -c '^Status: install ok installed' "$root/var/lib/dpkg/status")"
		same "configured" 10 "$(find "$root" -maxdepth 1 -name 'configured-*' | wc -l)"
		! [ -e "$root/var/cache/mmoci" ]
	done
}
check "install killed, with its dpkg and without: the same command again completes" installed

# --- full disks

mkdir -p small
mount -t tmpfs -o size=16m tmpfs small && echo "$work/small" >>mounts
said_before() {
	lines=$(wc -l <slow.log)
	refused 1 'bytes are needed and' "$mmoci" pull "$ref" --extract p9 --host-status none -o small/out
	refused 1 'bytes are needed and' "$mmoci" pull "$ref" -o small/tree
	[ "$(sent "$lines")" -lt 1000000 ] # indices, and no package
	same "left on the disk" "" "$(find small -type f)"
	umount small && mount -t tmpfs -o size=30m tmpfs small
	mkdir -p small/host && host room && rmdir small/host && mv "$root" small/host && root=$work/small/host
	head -c 4M /dev/zero >small/other
	sed 's/^Version: 1$/Version: 1\nInstalled-Size: 90000/' tree0/DEBIAN/control | sed 's/^Package: .*/Package: huge/' >huge.control
	mkdir -p huge/DEBIAN huge-debs && cp huge.control huge/DEBIAN/control && dpkg-deb --root-owner-group -b huge huge-debs >/dev/null
	sed 's,./debs,./huge-debs,' mmoci.yaml >huge.yaml
	"$mmoci" push -q -f huge.yaml --date 2026-01-01 oci:huge-layout:day
	refused 1 'when they are installed' "$mmoci" install -f huge.yaml --ref oci:huge-layout:day --root "$root" huge
	same "dpkg's status" 0 "$(wc -c <"$root/var/lib/dpkg/status")"
}
check "a disk that cannot hold it: said before a package is asked for" said_before

filled() {
	umount small && mount -t tmpfs -o size=30m tmpfs small
	for what in "pull $ref --extract p9 --host-status none -o small/out" "pull $ref -o small/out" "copy $ref oci:small/out:day" "copy $ref oci-archive:small/out:day"; do
		rm -rf small/*
		slow
		# Somebody else fills it meanwhile.
		(sleep 0.2 && head -c 26M /dev/zero >small/other) 2>/dev/null &
		# shellcheck disable=SC2086 # words
		refused 1 'no space left' "$mmoci" $what
		wait $! || :
		find small -type f ! -name other | head
		[ ! -d small/out/blobs ] || whole_blobs small/out
		[ ! -d small/out ] || [ -d small/out/blobs ] || [ "${what#*extract}" != "$what" ] || whole_files small/out tree.whole
		[ "${what#*extract}" = "$what" ] || whole_files small/out out.whole
		! [ -f small/out ]
		same "parts of files" "" "$(find small -name '*mmoci-tmp-*' -size +0)"
		rm small/other
		quick
		# shellcheck disable=SC2086
		"$mmoci" $what
	done
}
check "a disk that is filled meanwhile: exit 1, nothing half, and the rerun completes" filled

# dpkg on a full disk: what it could not unpack, it has not; nothing is left in between.
dpkg_filled() {
	mkdir -p fat0/DEBIAN fat1/DEBIAN fat1/usr fat-debs
	printf 'Package: fat0\nVersion: 1\nArchitecture: %s\nMaintainer: Site <site@example.org>\nInstalled-Size: 1\nDescription: d\n' "$arch" >fat0/DEBIAN/control
	sed 's/fat0/fat1/; s/^Description/Depends: fat0\nDescription/' fat0/DEBIAN/control >fat1/DEBIAN/control
	head -c 40M /dev/zero >fat1/usr/zeros
	mkdir -p fat2/DEBIAN && sed 's/fat1/fat2/; s/Depends: fat0/Depends: fat1/' fat1/DEBIAN/control >fat2/DEBIAN/control
	for i in 0 1 2; do dpkg-deb --root-owner-group -b fat$i fat-debs >/dev/null; done
	sed 's,./debs,./fat-debs,' mmoci.yaml >fat.yaml
	"$mmoci" push -q -f fat.yaml --date 2026-01-01 oci:fat-layout:day
	rm -rf small/*
	host fat && mv "$root" small/host && root=$work/small/host
	refused 1 'dpkg --unpack' "$mmoci" install -f fat.yaml --ref oci:fat-layout:day --root "$root" fat2
	cat refused.out
	same "dpkg --audit" "" "$(audit)"
	same "installed" 1 "$(grep -c '^Status: install ok installed' "$root/var/lib/dpkg/status")"
	! [ -e "$root/usr/zeros" ]
	mount -o remount,size=90m "$work/small"
	"$mmoci" install -f fat.yaml --ref oci:fat-layout:day --root "$root" fat2
	same "dpkg --audit" "" "$(audit)"
}
check "a disk that is full under dpkg: what is not unpacked is taken back, and a rerun on a larger one completes" dpkg_filled
