#!/bin/sh
# real-freeze.sh UPSTREAM OUT PKG...
#
# Freezes bookworm-updates/main as real-upstream.sh --verbatim bookworm-updates UPSTREAM laid
# it out: InRelease, Packages.xz (it has no gz), the .debs of PKG..., the keys that signed. Made testdata/real;
# needs gpgv besides what real-upstream.sh needs.
set -eu
umask 022
. "$(dirname "$0")/lib.sh"

suite=bookworm-updates
index=main/binary-amd64/Packages
[ $# -ge 3 ] || die "usage: ${0##*/} UPSTREAM OUT PKG..."
need gpgv sha256sum awk sed
from=$(cd "$1" && pwd)
mkdir -p "$2"
to=$(cd "$2" && pwd)
shift 2

mkdir -p "$to/dists/$suite/${index%/*}" "$to/keys"
cp "$from/debian/dists/$suite/InRelease" "$to/dists/$suite/"
cp "$from/debian/dists/$suite/$index.xz" "$to/dists/$suite/$index.xz"

for p in "$@"; do
	path=$(awk -F'\t' -v p="$p" '$1 == p { print $6 }' "$from/.apt/$suite.tsv")
	[ -n "$path" ] || die "$p is not in $suite"
	mkdir -p "$to/$(dirname "${path#debian/}")"
	cp "$from/$path" "$to/${path#debian/}"
done

# Only the keys that signed: each of the distribution's one-key files that verifies the InRelease by itself.
: >"$to/keys/debian-archive.gpg"
for k in /usr/share/keyrings/debian-archive-*-*.gpg; do
	out=$(gpgv --keyring "$k" "$to/dists/$suite/InRelease" 2>&1 || :)
	case $out in *"Good signature"*) cat "$k" >>"$to/keys/debian-archive.gpg" ;; esac
done
[ -s "$to/keys/debian-archive.gpg" ] || die "no key of this host's verifies InRelease"
(cd "$to" && find . -type f ! -name README.md -printf '%P\n' | LC_ALL=C sort | xargs wc -c)
