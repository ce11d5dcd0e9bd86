#!/bin/sh
# Closures of pkg/resolve against apt and dose-debcheck (Debian package
# dose-distcheck) as the judges, on the indices that this machine's apt has fetched.
#
#   PARITY_SEED=n PARITY_COUNT=m scripts/parity.sh
#
# PARITY_LISTS  directory of the fetched indices   (default /var/lib/apt/lists)
# PARITY_MATCH  which of them, a shell pattern     (default *_main_binary-*_Packages*)
# PARITY_STATUS a dpkg status to install into; default: an empty machine
# PARITY_SECURITY how many of the packages at least are drawn from a security suite   (default: a third)
# PARITY_GROUPS how many questions of several packages, two of which contradict each other, are judged
#               as a mirror closes them: in groups   (default: a tenth of PARITY_COUNT; none with a status)
# PARITY_PRINT  print every difference in full if set
#
# Exits 1 if apt or dose-debcheck refuses one closure, if one differs from run to run, if one package is taken in
# another version than apt takes it in, or if
# less than PARITY_SHARE (default 97; 0 with a status, since apt upgrades there
# what need not be) per cent are the set that apt chooses.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need apt-get dose-debcheck
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/indices"
lists=${PARITY_LISTS:-/var/lib/apt/lists}
for f in "$lists"/${PARITY_MATCH:-*_main_binary-*_Packages*}; do
	[ -f "$f" ] || continue
	name=$(basename "$f" | sed 's/_Packages.*//')
	case $f in
	*_Packages) cp "$f" "$work/indices/$name" ;;
	*) /usr/lib/apt/apt-helper cat-file "$f" >"$work/indices/$name" ;;
	esac
done
share=97
[ -z "${PARITY_STATUS:-}" ] || share=0
go build -o "$work/parity" ./scripts/parity
"$work/parity" -work "$work" -seed "${PARITY_SEED:-1}" -count "${PARITY_COUNT:-100}" -share "${PARITY_SHARE:-$share}" \
	-security "${PARITY_SECURITY:-$(((${PARITY_COUNT:-100} + 2) / 3))}" \
	-groups "${PARITY_GROUPS:-$((${PARITY_COUNT:-100} / 10))}" -status "${PARITY_STATUS:-}" ${PARITY_PRINT:+-v}
