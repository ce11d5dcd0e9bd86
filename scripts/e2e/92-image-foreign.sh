# 92-image-foreign.sh: an image of two architectures from one snapshot, the other one built here without running a program of it.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

other=arm64 machine=AArch64
[ "$arch" != arm64 ] || other=amd64 machine=X86-64
up=$E2E_CACHE/foreign-upstream
lists
# The indices of both are those of one InRelease: should it change in between, once more.
layout() {
	"$E2E_TOP/scripts/real-upstream.sh" "$up" busybox libssl3 base-passwd >&2
	cp -r "$up"/debian/dists dists.before
	"$E2E_TOP/scripts/real-upstream.sh" --arch $other "$up" busybox libssl3 base-passwd >&2
	diff -r -q dists.before "$up"/debian/dists | grep -v "^Only in" >&2 || return 0
	return 1
}
layout || { rm -rf dists.before && layout; }
"$mmoci" key new -o site.asc >&2
{ printf 'ref: oci:%s/snapshot:all\nsign: {key: site.asc}\ntrust: [site.pub.asc]\n' "$work"; sed "s/architectures: .*/architectures: [$arch, $other]/" "$up/mmoci.yaml"; } >mmoci.yaml
"$mmoci" push >&2

printf 'name: two\narch: [%s, %s]\nscripts: none\npackages: [busybox, libssl3]\nconfig: {entrypoint: [/bin/busybox]}\n' "$arch" $other >image.yaml
two() {
	registry_start v3 registry "$work/storage"
	"$mmoci" image build oci:images:two | tee ref
	"$mmoci" copy oci:images:two "$registry/site/two:1"
	same "digest" "$(sed 's/.*@//' ref)" "$(crane digest "$registry/site/two:1")"
	crane validate --remote "$registry/site/two:1"
	crane manifest "$registry/site/two:1" | jq -r '.manifests[].platform | .os + "/" + .architecture' | tr '\n' ' ' >platforms
	same "platforms" "linux/$arch linux/$other " "$(cat platforms)"
}
check "an index of both architectures, in a layout and a registry, one digest" two

foreign() {
	skopeo --insecure-policy copy -q --override-arch $other oci:images:two oci:one:two
	umoci unpack --image one:two bundle
	root=bundle/rootfs
	for f in $root/usr/bin/busybox $root/usr/lib/*/libc.so.6 $root/usr/lib/*/libssl.so.3; do
		readelf -h "$f" | tee elf
		grep -q "Machine: *.*$machine" elf
	done
	dpkg-query --admindir=$root/var/lib/dpkg -W -f '${Architecture}\n' | sort -u | tr '\n' ' ' >archs
	same "architectures of its packages" "$other " "$(cat archs)"
	dpkg --root=$root --add-architecture $other # the dpkg here is of this machine
	same "dpkg --audit" "" "$(dpkg --root=$root --audit)"
	dpkg --root=$root --verify >changed
	cat changed
	[ ! -s changed ]
	ldconfig -p -C $root/etc/ld.so.cache | tee listed
	[ "$arch" != amd64 ] || grep 'libssl.so.3 (libc6,AArch64) => ' listed
}
check "what is in it is of $other, readelf says; dpkg has nothing to say; ldconfig reads the cache of its libraries" foreign

proved() {
	"$mmoci" image verify oci:images:two | tee proof
	grep "^$other: proved [1-9][0-9]*, generated 1, files 0$" proof
}
check "the packages of both are proved" proved
