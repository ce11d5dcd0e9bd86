# 92-image-killed.sh: kill -9 of image build at seeded instants, into a registry, a layout and an oci-archive; full disks under
# each place that it writes to. E2E_LONG=1: 150 instants, else 12.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/images.sh"
image_snapshot

# A snapshot of small packages, so that many instants are to be had.
small=$(head -n 40 "$shared/images-small" | paste -sd, -)
"$mmoci" pull --extract "base-passwd,busybox-static,dash,$small" --host-status none -o debs >&2
{ sed -n '/^sign:\|^trust:/p' mmoci.yaml; printf 'ref: oci:%s/snapshot:all\narchives: [{prefix: own, mode: curated, debs: debs}]\n' "$work"; } >mmoci.new
mv mmoci.new mmoci.yaml
"$mmoci" push --date 2026-01-01 >&2

for i in old new; do
	mkdir $i
	printf 'name: killed\narch: %s\nscripts: none\npackages: [busybox-static, %s]\nsync: [{src: ./say, dest: /srv/}]\n' "$arch" "$([ $i = old ] || echo "dash, ")$(echo "$small" | sed 's/,/, /g')" >$i/image.yaml
	echo $i >$i/say
done
registry_start v3 registry "$work/storage"
kills=12
[ -z "${E2E_LONG:-}" ] || kills=150
killed() { "$E2E_TOP/scripts/e2e/image-killer.py" --mmoci "$mmoci" --work "$work/killed" --old old --new new --kills $kills --seed "$seed" --registry "$registry"; }
check "killed at $kills instants of build and push: the old image or the new one is whole, a rerun makes the same digest, nothing half is left" killed
sed 's/^/     /' check.log

# A disk of a few megabytes under what is written to: one line, exit 1, the old image whole; with room the same command ends with
# the digest that it has elsewhere.
"$mmoci" image build -f old oci:good:old >old.ref 2>/dev/null
"$mmoci" image build -f new oci:good:new >new.ref 2>/dev/null
full() { # WHAT PLACE: where the disk is full, and where the image goes
	mkdir -p "full-$1"
	mount -t tmpfs -o size=64m tmpfs "full-$1"
	echo "$work/full-$1" >>"$work/mounts"
	mkdir -p "full-$1/tmp" "full-$1/state"
	_cache=
	case $1 in
	temporary) # without a cache layers are made there
		_cache=--no-cache
		set -- "$1" "$2" env TMPDIR="$work/full-$1/tmp"
		;;
	state) set -- "$1" "$2" env XDG_STATE_HOME="$work/full-$1/state" ;;
	*) set -- "$1" "$2" env ;;
	esac
	_what=$1 _place=$2
	shift 2
	if [ "$_what" = state ]; then # skopeo leaves behind the notes, which would spare what is to fill the disk
		skopeo --insecure-policy copy -q --all oci:good:old "$_place"
	else
		"$@" "$mmoci" image build --no-cache -q -f old "$_place"
	fi
	# Room for 200 kB more.
	mount -o remount,size=$(($(du -sk "full-$_what" | cut -f1) + 200))k "full-$_what"
	refused 1 "no space left on device" "$@" "$mmoci" image build $_cache -f new "$_place"
	same "error lines" 1 "$(grep -c '^mmoci: ' refused.err)"
	not grep -E 'goroutine|panic' refused.err
	same "temporary files" "" "$(find "full-$_what" -name '*tmp*' ! -path "*/tmp")"
	case $_place in
	oci:*) skopeo inspect --raw "$_place" >old.index && skopeo --insecure-policy copy -q "$_place" "docker-archive:checked.tar" ;;
	*) skopeo inspect --raw "$_place" >old.index ;;
	esac
	rm -f checked.tar
	same "the tag" "$(sed 's/.*@//' old.ref)" "sha256:$(sha256sum <old.index | cut -d' ' -f1)"
	mount -o remount,size=64m "full-$_what"
	same "with room" "$(sed 's/.*@//' new.ref)" "$("$@" "$mmoci" image build $_cache -q -f new "$_place" | sed 's/.*@//')"
	umount "full-$_what"
}
check "the disk of a layout is full: one line, the old image is whole; with room the same command completes" full layout "oci:$work/full-layout/images:1"
check "the disk of an oci-archive is full: the same" full archive "oci-archive:$work/full-archive/images.tar:1"
check "the state directory's disk is full: the same" full state "oci:$work/images:state"
check "the disk of temporary files is full: the same" full temporary "oci:$work/images:temporary"
