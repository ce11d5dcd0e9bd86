#!/bin/sh
# minroot.sh ROOT DEB...
#
# Makes a minimal root from the .debs of a base system (everything of priority
# required, and apt), as debootstrap's second stage does: unpacked by hand
# first, then installed by its own dpkg. Needs root, and dpkg on the host.
set -eu
. "$(dirname "$0")/lib.sh"
[ $# -gt 1 ] || die "usage: ${0##*/} ROOT DEB..."
[ "$(id -u)" = 0 ] || die "needs root"
need dpkg-deb tar chroot
root=$1
shift
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/debs" "$root/dev" "$root/proc" "$root/tmp"
# A merged /usr, as every Debian since bookworm has it.
for d in bin sbin lib lib64; do [ -e "$root/$d" ] || ln -s "usr/$d" "$root/$d"; done
chmod 1777 "$root/tmp"
mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/minroot" # nobody keeps this root over a power cut
: >"$root/var/lib/dpkg/status"
: >"$root/var/lib/dpkg/available"
[ -c "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
for deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -k -xf - 2>/dev/null || true
	cp "$deb" "$root/debs/"
done
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no daemon is started in here
chmod 755 "$root/usr/sbin/policy-rc.d"
ln -sf mawk "$root/usr/bin/awk"
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" "$@"; }
core() { in_root sh -c "dpkg --force-depends --install /debs/$1_*.deb"; }
{
	# Files are owned by name before base-passwd is configured.
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	for p in base-passwd base-files dpkg libc6 perl-base mawk debconf; do core $p; done
	in_root sh -c 'dpkg --force-depends --unpack /debs/*.deb'
	in_root dpkg --force-depends --force-configure-any --force-confold --configure --pending
	in_root dpkg --configure --pending
} >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; die "the minimal root could not be made; see $root.log"; }
rm -rf "$root/debs"
[ -z "$(in_root dpkg --audit)" ] || die "dpkg --audit complains in $root"
say "$root: $(in_root dpkg-query -f '.\n' -W | wc -l) packages"
