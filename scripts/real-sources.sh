#!/bin/sh
# real-sources.sh DIR SOURCE[=VERSION]...
#
# Adds real source packages to an upstream under DIR that real-upstream.sh laid out or will lay out:
#
#   DIR/PREFIX/dists/SUITE/      beside the Packages indices the real Sources.xz of each suite
#   DIR/PREFIX/pool/             .dsc and tarballs of each SOURCE, and the packages that its build needs on
#                                an empty machine, as apt chooses them, with Essential, build-essential and fakeroot
#   DIR/sources.tsv              name, version, PREFIX, directory of each SOURCE
#   DIR/.apt/src.conf            apt's configuration for what lies there, deb-src among it, with the status
#                                of a machine that has Essential, build-essential and fakeroot alone
#
# SOURCES without a version are the newest of the suite that is named first: a mirror that has an index of a
# security archive need not have its older files. apt verifies all of it, by the host's own configuration.
# Root is not needed; nothing outside DIR is written. Needs what real-upstream.sh needs, and xz.
set -eu
umask 022
top=$(dirname "$0")
. "$top/lib.sh"
[ $# -ge 2 ] || die "usage: ${0##*/} DIR SOURCE[=VERSION]..."
dir=$1
shift
need apt-get apt-cache dpkg sha256sum awk sed xz
work=$dir/.apt

# shellcheck disable=SC2046 # names
base="$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p' | paste -sd ' ') build-essential fakeroot"
# shellcheck disable=SC2086 # names
"$top/real-upstream.sh" "$dir" $base >/dev/null
dir=$(cd "$dir" && pwd)
work=$dir/.apt

# deb-src lines of the same archives, read by an apt of its own.
mkdir -p "$work/src/lists/partial" "$work/src/cache/archives/partial" "$work/src/etc/parts" "$work/src/log"
while IFS='|' read -r _ _ uri suite component _; do
	prefix=$(awk -F'|' -v u="$uri" '$1 == u { print $2 }' "$work/prefixes.txt")
	keyring=$(awk -F'|' -v p="$prefix" -v s="$suite" '$1 == p && $2 == s { print $4; exit }' "$work/archives.txt")
	echo "deb-src [signed-by=$keyring] $uri $suite $component"
done <"$work/targets.txt" >"$work/src/host.list"
conf() { # conf NAME: as apt_conf of real-upstream.sh has it
	cat <<-END
		Dir::State "$work/$1/";
		Dir::State::Lists "$work/$1/lists/";
		Dir::Cache "$work/$1/cache/";
		Dir::Cache::pkgcache "$work/$1/pkgcache.bin";
		Dir::Cache::srcpkgcache "$work/$1/srcpkgcache.bin";
		Dir::Log "$work/$1/log/";
		Dir::Etc "$work/$1/etc/";
		Dir::Etc::Parts "$work/$1/etc/parts/";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "5";
		#clear APT::Architectures;
		APT::Architectures { "$(dpkg --print-architecture)"; };
	END
}
{
	conf src
	cat <<-END
		Dir::State::status "/dev/null";
		Dir::Etc::sourcelist "$work/src/host.list";
		#clear Acquire::IndexTargets::deb-src;
		Acquire::IndexTargets::deb-src::Sources {
		  MetaKey "\$(COMPONENT)/source/Sources"; flatMetaKey "Sources"; ShortDescription "Sources";
		  Description "\$(RELEASE)/\$(COMPONENT) Sources"; flatDescription "\$(RELEASE) Sources";
		  Optional "no"; KeepCompressed "true"; KeepCompressedAs "xz gz"; PDiffs "no";
		};
		#clear Acquire::CompressionTypes::Order;
		Acquire::CompressionTypes::Order { "xz"; "gz"; };
	END
} >"$work/srchost.conf"
src_apt() { APT_CONFIG=$work/srchost.conf apt-get -q "$@"; }
src_apt update >"$work/src/update.log" 2>&1 || die "apt-get update: $(grep -m1 '^[EW]:' "$work/src/update.log")"

# shellcheck disable=SC2016 # apt's own variables
src_apt indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(METAKEY)|$(FILENAME)' "Identifier: Sources" |
	while IFS='|' read -r uri suite _ metakey file; do
		prefix=$(awk -F'|' -v u="$uri" '$1 == u { print $2 }' "$work/prefixes.txt")
		dists=$dir/$prefix/dists/$suite
		ending=${file##*Sources}
		want=$(listed "$dists/InRelease" "$metakey$ending")
		[ "${want% *}" = "$(sha256 "$file")" ] || die "$suite: $metakey$ending is not the file that its InRelease lists: the archive moved, try again"
		mkdir -p "$(dirname "$dists/$metakey")"
		cmp -s "$file" "$dists/$metakey$ending" || cp "$file" "$dists/$metakey$ending"
	done

# The files of each source, by what its index says of it.
: >"$dir/sources.tsv"
for s; do
	name=${s%%=*} version=
	[ "$name" = "$s" ] || version=${s#*=}
	found=
	while IFS='|' read -r prefix suite component _; do
		index=$(echo "$dir/$prefix/dists/$suite/$component/source/Sources".*)
		case $index in *.xz) unpack=xzcat ;; *) unpack=zcat ;; esac
		line=$($unpack "$index" | awk -v n="$name" -v v="$version" -v p="$prefix" '
			BEGIN { RS = ""; FS = "\n" }
			$0 ~ "(^|\n)Package: " { name = ver = at = ""
				for (i = 1; i <= NF; i++) {
					if (sub(/^Package: /, "", $i)) name = $i
					else if (sub(/^Version: /, "", $i)) ver = $i
					else if (sub(/^Directory: /, "", $i)) at = $i
				}
				if (name == n && (v == "" || ver == v)) { last = name "\t" ver "\t" p "\t" at } }
			END { if (last != "") print last }')
		[ -z "$line" ] || { found=$line; break; }
	done <"$work/archives.txt"
	[ -n "$found" ] || die "no source $s in the indices"
	echo "$found" >>"$dir/sources.tsv"
done
mkdir -p "$work/dsc"
while IFS='	' read -r name version prefix at; do
	mkdir -p "$dir/$prefix/$at"
	if [ ! -e "$dir/$prefix/$at/${name}_${version#*:}.dsc" ]; then
		(cd "$work/dsc" && rm -f ./* && src_apt source --download-only --only-source "$name=$version" >get.log 2>&1) || die "source $name $version: $(grep -m1 '^E:' "$work/dsc/get.log")"
		rm -f "$work/dsc/get.log"
		mv "$work/dsc"/* "$dir/$prefix/$at/"
	fi
done <"$dir/sources.tsv"

# What their builds need: by apt on a machine that has the base alone.
mkdir -p "$work/build/lists/partial" "$work/build/cache/archives/partial" "$work/build/etc/parts" "$work/build/log"
sed 's/^deb //' "$work/sources.list" | while read -r rest; do echo "deb $rest"; echo "deb-src $(echo "$rest" | sed 's/arch=[^ ]* //')"; done >"$work/build.list"
{
	conf build
	cat <<-END
		Dir::State::status "$work/build/status";
		Dir::Etc::sourcelist "$work/build.list";
	END
} >"$work/src.conf"
: >"$work/build/status"
build_apt() { APT_CONFIG=$work/src.conf apt-get -q "$@"; }
build_apt update >"$work/build/update.log" 2>&1 || die "what was laid out does not verify: $(grep -m1 '^[EW]:' "$work/build/update.log")"
# shellcheck disable=SC2086 # names
build_apt -s --no-install-recommends install $base | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\).*/\1=\2/p' >"$work/build/base.txt"
# shellcheck disable=SC2046 # names
APT_CONFIG=$work/src.conf apt-cache show $(cat "$work/build/base.txt") |
	awk '/^Package: / { print; print "Status: install ok installed"; next } { print }' >"$work/build/status.new"
mv "$work/build/status.new" "$work/build/status"
cut -f 1,2 "$dir/sources.tsv" | while IFS='	' read -r name version; do
	build_apt -s --no-install-recommends build-dep "$name=$version" || die "apt finds no way to build $name"
done | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\).*/\1/p' | sort -u >"$work/build/needs.txt"
# shellcheck disable=SC2046,SC2086 # names
"$top/real-upstream.sh" "$dir" $base $(cat "$work/build/needs.txt") >/dev/null
say "sources $*: $(wc -l <"$dir/sources.tsv"), and what their builds need: $(wc -l <"$dir/closure.tsv") packages"
echo "$dir"
