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
# E2E_JOBS         how many scripts at a time (default 2; with E2E_LONG 1, for times have bars there)
# MMOCI_E2E_CACHE  where real packages are kept between runs (default /var/tmp/mmoci-e2e)
# TMPDIR           where everything else goes (default /tmp); a script's files are removed when it has passed, all of
#                  them at the end; of what failed they are kept
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
		createrepo-c createrepo_c
		crun crun
		curl curl
		debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
		debmirror debmirror
		debootstrap debootstrap
		debsums debsums
		dnf dnf
		docker-registry docker-registry
		docker.io dockerd
		dose-distcheck dose-debcheck
		dose-extra dose-ceve
		dpkg-dev dpkg-source
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
		nodejs node
		npm npm
		opensc pkcs11-tool
		openssl openssl
		podman podman
		prometheus promtool
		python3 python3
		python3-yaml /usr/lib/python3/dist-packages/yaml
		reprepro reprepro
		rpm rpmbuild
		runc runc
		skopeo skopeo
		sbuild sbuild
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
tool gofakes3 github.com/johannesboyne/gofakes3/cmd/gofakes3 v1.2.0
tool oras oras.land/oras/cmd/oras v1.3.6
# oci-image-tool is of a module that go install cannot take as it is.
[ -x .tools/oci-image-tool ] || GOFLAGS='' CGO_ENABLED=0 $GO build -C scripts/e2e/image-tool -o "$PWD/.tools/oci-image-tool" github.com/opencontainers/image-tools/cmd/oci-image-tool ||
	die "oci-image-tool cannot be had"
# axe-core judges whether pages can be used by everybody. It is one script; npm only fetches it.
axe=axe-core-4.10.3
if [ ! -s .tools/$axe/axe.min.js ]; then
	mkdir -p .tools/$axe
	(cd .tools/$axe && npm pack --silent axe-core@4.10.3 >&2 &&
		echo "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292  $axe.tgz" | sha256sum -c --quiet >&2 &&
		tar -xzf $axe.tgz --strip-components=1 package/axe.min.js package/LICENSE) || die "axe-core cannot be had"
fi
ln -sfn $axe/axe.min.js .tools/axe.min.js
[ "${1:-}" != --tools ] || exit 0

CGO_ENABLED=0 GOFLAGS=${GOFLAGS:--buildvcs=false} $GO build -trimpath -o bin/mmoci ./cmd/mmoci

E2E_TOP=$PWD
E2E_CACHE=${MMOCI_E2E_CACHE:-/var/tmp/mmoci-e2e}
room=$(df -k --output=avail "${TMPDIR:-/tmp}" | tail -n 1)
[ "$room" -ge 5000000 ] || die "${TMPDIR:-/tmp} has $((room / 1000)) MB left, and 5000 are needed; make room, or name another place in TMPDIR"
E2E_WORK=$(mktemp -d "${TMPDIR:-/tmp}/mmoci-e2e.XXXXXX")
chmod 755 "$E2E_WORK"
export E2E_TOP E2E_CACHE E2E_WORK
mkdir "$E2E_WORK/taken"
lanes=
finish() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	# shellcheck disable=SC2086 # numbers
	[ -z "$lanes" ] || kill -TERM $lanes 2>/dev/null || :
	wait
	if [ "$status" = 0 ]; then
		rm -rf --one-file-system "$E2E_WORK"
	else
		say "logs are kept in $E2E_WORK"
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# processor FILE: how long a script computed, with all that it started and waited for; lib.sh writes it.
processor() {
	[ ! -s "$1" ] || awk 'END { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); sum += t[1] * 60 + t[2] } printf ", %d s of processor time", sum }' "$1"
}

# run SCRIPT: its checks and then its time on standard output, its log in NAME.err.
run() {
	start=$(date +%s)
	status=0
	if [ "$jobs" = 1 ]; then
		echo "== $name"
		tee "$E2E_WORK/$name.out" <"$pipe" &
	else
		cat >"$E2E_WORK/$name.out" <"$pipe" &
	fi
	reader=$!
	sh "$1" >"$pipe" 2>"$E2E_WORK/$name.err" &
	current=$!
	wait $current || status=$?
	current=
	wait $reader
	if grep -q '^not ok ' "$E2E_WORK/$name.out"; then
		: # its files are kept
	elif [ $status = 0 ]; then
		rm -rf --one-file-system "${E2E_WORK:?}/$name" || : # those of all scripts together fill a disk
	else # broken off
		echo "not ok $name ended with $status" >"$E2E_WORK/$name.end"
		tail -n 15 "$E2E_WORK/$name.err" >>"$E2E_WORK/$name.end"
	fi
	echo "   $name: $(($(date +%s) - start)) s$(processor "$E2E_WORK/$name.times")" >>"$E2E_WORK/$name.end"
	if [ "$jobs" = 1 ]; then
		cat "$E2E_WORK/$name.end"
	else # in one piece
		flock "$E2E_WORK/taken" sh -c 'echo "== $1" && cat "$2" "$3"' sh "$name" "$E2E_WORK/$name.out" "$E2E_WORK/$name.end"
	fi
}

# lane SCRIPT..: runs each that no other lane has taken.
lane() {
	pipe=$E2E_WORK/pipe.$lane
	mkfifo "$pipe"
	current=
	# A script cleans up after itself; one that is broken off is told to, and waited for.
	trap 'trap "" TERM; [ -z "$current" ] || kill -TERM "$current" 2>/dev/null; wait; exit 130' TERM
	for script; do
		name=$(basename "$script" .sh)
		! mkdir "$E2E_WORK/taken/$name" 2>/dev/null || run "$script"
	done
}

# all_of COUNT SCRIPT..: so many at a time, until all are done.
all_of() {
	jobs=$1
	shift
	lanes=
	for lane in $(seq "$jobs"); do
		lane=$((lane + ${used:-0}))
		lane "$@" &
		lanes="$lanes $!"
	done
	used=$lane
	# shellcheck disable=SC2086 # numbers
	wait $lanes
	lanes=
}

[ -n "${E2E_LONG:-}" ] && at_once=1 || at_once=2

# Most scripts wait for programs of one processor, so two run at a time. Those with a line that begins with
# "# Alone:" measure, or need what the machine has once, and come last. Those that take longest come first, so that no
# lane is left with one of them at the end.
longest='92-image-scripts 11-demo 98-sources 81-suite-on-registries 91-image-build 30-by-hand 45-forgeries 10-real 92-image-engines 87-page 35-parity 92-image-layers'
if [ $# = 0 ]; then
	for script in scripts/e2e/[0-9]*.sh; do
		name=$(basename "$script" .sh)
		case " $longest " in *" $name "*) ;; *) set -- "$@" "$script" ;; esac
	done
	for name in $(echo "$longest" | tr ' ' '\n' | tac); do set -- "scripts/e2e/$name.sh" "$@"; done
fi
beside='' alone=''
for script; do
	[ -f "$script" ] || script=scripts/e2e/$script
	[ -f "$script" ] || die "$script: no such script"
	if grep -q '^# Alone:' "$script"; then alone="$alone $script"; else beside="$beside $script"; fi
done
# shellcheck disable=SC2086 # names of scripts
{
	if [ $# = 1 ]; then
		all_of 1 $beside $alone
	else
		all_of "${E2E_JOBS:-$at_once}" $beside
		all_of 1 $alone
	fi
}
count() { cat "$E2E_WORK"/*.out "$E2E_WORK"/*.end | grep -c "^$1 " || :; }
failed=$(count "not ok")
echo "$(count ok) passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
