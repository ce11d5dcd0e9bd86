# shellcheck shell=sh
# images.sh: what the tests of container images share: one snapshot of real packages, once a run; sourced behind lib.sh.
#
#	image_snapshot   mmoci.yaml here names the snapshot with all packages below
#	$up              the upstream that it was made from
#	inside ROOT COMMAND..  a program of a tree, with /proc, by which the dynamic linker finds what lies beside it
#	crun_here ARG..  crun, which refuses cgroups of version 1 with a version 2 beside it, without the latter

up=$E2E_CACHE/images-upstream
essential=$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p' | paste -sd ' ')

# The packages that the tests build images of; E2E_LONG=1: the large ones, too.
image_packages="nginx-light redis-server python3-minimal python3 libblas3 ca-certificates ssl-cert iputils-ping libcap2-bin base-passwd base-files dash apt curl busybox-static"
[ -z "${E2E_LONG:-}" ] || image_packages="$image_packages postgresql-15 openjdk-17-jre-headless docker.io"

# Layers that one of the tests made are known to the others.
XDG_STATE_HOME=$shared/images-state

# What is drawn is drawn by this seed: the same packages at each run, as long as the archive has them.
seed=${E2E_SEED:-20261128}

# drawn WHAT..: what draw.py says: closures SEED COUNT ESSENTIAL.., or small SEED COUNT.
drawn() {
	# the host's archives, with nothing installed
	if [ ! -e draw/available ]; then
		mkdir -p draw/parts
		: >draw/status
		printf 'Dir::State::status "%s";\nDir::Etc::parts "%s";\n#clear APT::Architectures;\nAPT::Architectures { "%s"; };\n' "$work/draw/status" "$work/draw/parts" "$arch" >draw.conf
		APT_CONFIG=$work/draw.conf apt-cache dumpavail >draw/available
	fi
	APT_CONFIG=$work/draw.conf "$E2E_TOP/scripts/e2e/draw.py" "$@" <draw/available
}

image_snapshot() {
	lists
	once image-snapshot make_image_snapshot
	sed "s,@,$shared/images-," "$shared/images.yaml" >mmoci.yaml
}
make_image_snapshot() {
	# shellcheck disable=SC2086 # names
	drawn closures "$seed" 20 $essential >"$shared/images-drawn"
	drawn small "$seed" 130 >"$shared/images-small"
	# shellcheck disable=SC2046,SC2086 # names
	"$E2E_TOP/scripts/real-upstream.sh" "$up" $essential $image_packages $(cat "$shared/images-drawn" "$shared/images-small") >&2
	"$mmoci" key new -o "$shared/images-site.asc" >&2
	{ printf 'ref: oci:@snapshot:all\nsign: {key: @site.asc}\ntrust: [@site.pub.asc]\n'; cat "$up/mmoci.yaml"; } >"$shared/images.yaml"
	sed "s,@,$shared/images-," "$shared/images.yaml" >mmoci.yaml
	"$mmoci" push >&2
}

inside() {
	mkdir -p "$1/proc"
	unshare -m sh -c 'mount -t proc proc "$1/proc" && exec chroot "$@"' inside "$@"
}

crun_here() {
	unshare -m sh -c '
		! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
		exec crun --cgroup-manager=disabled "$@"' crun "$@"
}
