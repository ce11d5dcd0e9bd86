#!/bin/sh
# real-indices.sh DIR
#
# Lays out the real indices of trixie (updates and security too) and of sid under DIR, of main, for amd64 and
# arm64 and the sources, from where this host's own apt has Debian:
#
#   DIR/debian/dists/SUITE/, DIR/security/dists/SUITE/   InRelease, Packages.xz, Sources.xz
#   DIR/trixie.yaml, DIR/sid.yaml                        docker.io of them, for mmoci: the part archives: and packages:
#   DIR/apt.conf                                         an apt of its own that knows these suites
#
# There is no pool: that is for `mmoci push --plan`, or for who fetches it with DIR/apt.conf. A second run fetches
# what is new. Root is not needed; nothing outside DIR is written. Ends with exit code 3 if the host's apt has no Debian.
set -eu
umask 022
. "$(dirname "$0")/lib.sh"

[ $# -eq 1 ] || die "usage: ${0##*/} DIR"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
case $dir in *[!A-Za-z0-9._/+~-]*) die "$dir: apt's files cannot hold such a name" ;; esac
need apt-get
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r $keyring ] || die "needs $keyring (package debian-archive-keyring)"

# uri LABEL: where this host has that archive.
# shellcheck disable=SC2016 # apt's own variables
uri() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
		awk -F'|' -v l="$1" '$1 == "Debian" && $2 == l { print $3; exit }'
}
debian=$(uri Debian)
security=$(uri Debian-Security)
[ -n "$debian" ] && [ -n "$security" ] || { say "this host's apt has no Debian"; exit 3; }

mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/log" "$dir/apt/parts"
: >"$dir/apt/status"
for type in deb deb-src; do
	for suite in trixie trixie-updates sid; do echo "$type [arch=amd64,arm64 check-valid-until=no signed-by=$keyring] $debian $suite main"; done
	echo "$type [arch=amd64,arm64 check-valid-until=no signed-by=$keyring] $security trixie-security main"
done >"$dir/apt/sources.list"
kept='flatMetaKey "-"; ShortDescription "-"; Description "-"; flatDescription "-"; Optional "no"; KeepCompressed "true"; KeepCompressedAs "xz"; PDiffs "no";'
cat >"$dir/apt.conf" <<-END
	Dir::State "$dir/apt/";
	Dir::State::Lists "$dir/apt/lists/";
	Dir::State::status "$dir/apt/status";
	Dir::Cache "$dir/apt/cache/";
	Dir::Cache::pkgcache "$dir/apt/pkgcache.bin";
	Dir::Cache::srcpkgcache "$dir/apt/srcpkgcache.bin";
	Dir::Log "$dir/apt/log/";
	Dir::Etc::sourcelist "$dir/apt/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "/dev/null";
	APT::Architecture "amd64";
	#clear APT::Architectures;
	APT::Architectures { "amd64"; "arm64"; };
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	Acquire::Retries "5";
	#clear Acquire::IndexTargets;
	Acquire::IndexTargets::deb::Packages { MetaKey "\$(COMPONENT)/binary-\$(ARCHITECTURE)/Packages"; $kept };
	Acquire::IndexTargets::deb-src::Sources { MetaKey "\$(COMPONENT)/source/Sources"; $kept };
	#clear Acquire::CompressionTypes::Order;
	Acquire::CompressionTypes::Order { "xz"; };
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	#clear APT::Update::Pre-Invoke;
END
say "fetching the indices of trixie and sid"
apt-get -q -c "$dir/apt.conf" update >"$dir/apt/update.log" 2>&1 || die "apt-get update: $(grep -m1 '^[EW]:' "$dir/apt/update.log" || tail -n1 "$dir/apt/update.log")"

# shellcheck disable=SC2016 # apt's own variables
apt-get -c "$dir/apt.conf" indextargets --format '$(REPO_URI)|$(RELEASE)|$(METAKEY)|$(FILENAME)' >"$dir/apt/targets"
while IFS='|' read -r from suite metakey file; do
	prefix=debian
	[ "$from" = "$debian" ] || prefix=security
	dists=$dir/$prefix/dists/$suite
	mkdir -p "$dists/$(dirname "$metakey")"
	cp "${file%"$(printf %s "$metakey" | tr / _)"*}InRelease" "$dists/InRelease"
	cp "$file" "$dists/$metakey.xz"
	[ "$(listed "$dists/InRelease" "$metakey.xz" | cut -d' ' -f1)" = "$(sha256 "$file")" ] || die "$suite: $metakey.xz is not the file that its InRelease lists"
done <"$dir/apt/targets"

# archive PREFIX SUITES [LINE]: an archive of a mmoci.yaml.
archive() {
	printf -- '- prefix: %s\n  mode: curated\n  url: %s\n  suites: [%s]\n  components: [main]\n  architectures: [amd64, arm64]\n  check-valid-until: no\n  signed-by: %s\n%s' \
		"$1" "$dir/$1" "$2" "$keyring" "${3:-}"
}
{ echo 'packages: [docker.io]'; echo 'archives:'; archive debian 'trixie, trixie-updates'; archive security trixie-security; } >"$dir/trixie.yaml"
{ echo 'packages: [docker.io]'; echo 'archives:'; archive debian sid '  with-sources: yes
'; } >"$dir/sid.yaml"
