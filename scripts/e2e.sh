#!/bin/sh
# e2e.sh [--tools] [SCRIPT...]
#
# The tests with real apt, dpkg, registries, copiers and chroots: runs
# scripts/e2e/NN-*.sh in order, or those named, and ends with one line that
# counts the checks. --tools only fetches what they need.
#
# Needs root: chroots, mounts and network namespaces. As root it installs what
# is missing with one apt-get line; otherwise it prints that line and ends with exit code 2.
# Programs of other people come by `go install` at a fixed version into .tools/.
#
# MMOCI_E2E_CACHE  where real packages are kept between runs (default /var/tmp/mmoci-e2e)
# TMPDIR           where everything else goes (default /tmp); removed at the end, kept on failure
set -eu
umask 022
cd "$(dirname "$0")/.."
. scripts/lib.sh
GO=${GO:-go}

# The Debian packages, each with a program that tells whether it is there.
# gcc and libc6-dev are for the race detector.
missing_packages() {
	while read -r package program; do
		[ -e "$program" ] || command -v "$program" >/dev/null 2>&1 || printf ' %s' "$package"
	done <<-'END'
		apache2-bin apache2
		apt apt-get
		apt-mirror apt-mirror
		aptly aptly
		binutils ar
		busybox-static busybox
		ca-certificates /etc/ssl/certs/ca-certificates.crt
		chromium chromium
		containerd containerd
		crun crun
		curl curl
		debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
		debmirror debmirror
		debootstrap debootstrap
		debsums debsums
		docker-registry docker-registry
		docker.io dockerd
		dose-distcheck dose-debcheck
		dose-extra dose-ceve
		e2fsprogs mkfs.ext4
		faketime faketime
		gcc gcc
		gnupg-pkcs11-scd gnupg-pkcs11-scd
		gpg gpg
		gpg-agent gpg-agent
		gpgv gpgv
		groff groff
		iproute2 ip
		jq jq
		libc6-dev /usr/include/stdlib.h
		lighttpd lighttpd
		man-db lexgrog
		mandoc mandoc
		mmdebstrap mmdebstrap
		nginx-light nginx
		opensc pkcs11-tool
		openssl openssl
		podman podman
		prometheus promtool
		python3 python3
		python3-yaml /usr/lib/python3/dist-packages/yaml
		reprepro reprepro
		runc runc
		skopeo skopeo
		softhsm2 softhsm2-util
		tinyproxy-bin tinyproxy
		uidmap newuidmap
		umoci umoci
		util-linux setpriv
		wget wget
		xz-utils xz
	END
}

# install_packages: no daemon of theirs may be started, so a policy-rc.d stands there meanwhile if there is none.
install_packages() {
	policy=/usr/sbin/policy-rc.d
	if [ -e $policy ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
	fi
	status=0
	# shellcheck disable=SC2086 # a list of names
	{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $1; } >&2 || status=$?
	[ -z "$policy" ] || rm -f $policy
	[ $status = 0 ] || die "apt-get did not install$1"
}

PATH=$PATH:/usr/sbin:/sbin
packages=$(missing_packages)
if [ "$(id -u)" != 0 ]; then
	say "needs root, for chroots, mounts and network namespaces; nothing was run. As root, once:"
	echo "apt-get update && apt-get install -y --no-install-recommends${packages:- }${packages:+ && }scripts/e2e.sh" |
		sed 's/^apt-get update.*recommends scripts/scripts/'
	exit 2
fi
[ -z "$packages" ] || install_packages "$packages"

# tool PROGRAM MODULE VERSION: a program of other people's, at a version.
tool() {
	dir=$PWD/.tools/$1-$3
	[ -x "$dir/$1" ] || GOFLAGS='' GOBIN=$dir CGO_ENABLED=0 $GO install "$2@$3" || die "$2@$3 cannot be had"
	ln -sfn "$1-$3/$1" ".tools/$1"
}
mkdir -p .tools
tool registry github.com/distribution/distribution/v3/cmd/registry v3.1.2
tool crane github.com/google/go-containerregistry/cmd/crane v0.22.1
tool regctl github.com/regclient/regclient/cmd/regctl v0.11.7
tool oras oras.land/oras/cmd/oras v1.3.6
[ "${1:-}" != --tools ] || exit 0

CGO_ENABLED=0 GOFLAGS=${GOFLAGS:--buildvcs=false} $GO build -trimpath -o bin/mmoci ./cmd/mmoci

E2E_TOP=$PWD
E2E_CACHE=${MMOCI_E2E_CACHE:-/var/tmp/mmoci-e2e}
E2E_WORK=$(mktemp -d "${TMPDIR:-/tmp}/mmoci-e2e.XXXXXX")
chmod 755 "$E2E_WORK"
export E2E_TOP E2E_CACHE E2E_WORK
mkfifo "$E2E_WORK/pipe"
current='' passed=0 failed=0
finish() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	# A script cleans up after itself; one that was broken off is told to, and waited for.
	if [ -n "$current" ]; then
		kill -TERM "$current" 2>/dev/null || :
		wait "$current" 2>/dev/null || :
	fi
	if [ "$status" = 0 ]; then
		rm -rf --one-file-system "$E2E_WORK"
	else
		say "logs are kept in $E2E_WORK"
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

[ $# -gt 0 ] || set -- scripts/e2e/[0-9]*.sh
for script; do
	[ -f "$script" ] || script=scripts/e2e/$script
	[ -f "$script" ] || die "$script: no such script"
	name=$(basename "$script" .sh)
	echo "== $name"
	start=$(date +%s)
	status=0
	tee "$E2E_WORK/$name.out" <"$E2E_WORK/pipe" &
	reader=$!
	sh "$script" >"$E2E_WORK/pipe" 2>"$E2E_WORK/$name.err" &
	current=$!
	wait $current || status=$?
	current=
	wait $reader
	passed=$((passed + $(grep -c '^ok ' "$E2E_WORK/$name.out" || :)))
	here=$(grep -c '^not ok ' "$E2E_WORK/$name.out" || :)
	# One that ends badly without a check that says so was broken off.
	if [ $status != 0 ] && [ "$here" = 0 ]; then
		here=1
		echo "not ok $name ended with $status"
		tail -n 15 "$E2E_WORK/$name.err"
	fi
	failed=$((failed + here))
	echo "   $name: $(($(date +%s) - start)) s"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
