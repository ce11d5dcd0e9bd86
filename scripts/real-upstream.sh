#!/bin/sh
# real-upstream.sh [--base] [--verbatim SUITE]... [--arch ARCH] DIR [PKG...]
#
# Lays out a real upstream under DIR from this host's own apt configuration:
#
#   DIR/PREFIX/dists/SUITE/      the real InRelease and the real compressed Packages
#                                (the very files, xz preferred), of every suite that comes from the distribution
#   DIR/PREFIX/pool/             the closure of PKG (default docker.io) from an empty dpkg status,
#                                without Recommends, as apt chooses it from these suites
#   DIR/closure.txt              the file names of the closure, sorted
#   DIR/closure.tsv              name, version, architecture, SHA256, size, PREFIX/path of each
#   DIR/mmoci.yaml               archives: for mmoci, reading the directories
#   DIR/keyring-PREFIX.gpg|asc   the keyrings that apt verified with
#
# The indices are whole, the pool holds the closure only. --base adds to PKG what a minimal root is made of:
# apt, and every package of priority required. --verbatim adds all
# pool files of SUITE (component main, this architecture), unless they are more than MAX_POOL bytes.
# --arch takes another architecture than this machine's; its indices and packages come beside those of others in DIR.
#
# Root is not needed; nothing outside DIR is written. apt's own configuration decides where things come from
# (sources, proxies, credentials). A second run asks whether the indices moved and fetches only what is new.
# Needs Debian's or Ubuntu's base: apt, dpkg, coreutils, awk, sed.
set -eu
umask 022
. "$(dirname "$0")/lib.sh"

MAX_POOL=${MAX_POOL:-300000000}

verbatim='' base='' arch=
while [ $# -gt 0 ]; do
	case $1 in
	--verbatim) [ $# -gt 1 ] || die "--verbatim needs a suite"; verbatim="$verbatim $2"; shift 2 ;;
	--base) base=1; shift ;;
	--arch) [ $# -gt 1 ] || die "--arch needs an architecture"; arch=$2; shift 2 ;;
	-h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
	-*) die "unknown option $1" ;;
	*) break ;;
	esac
done
[ $# -ge 1 ] || die "usage: ${0##*/} [--base] [--verbatim SUITE]... [--arch ARCH] DIR [PKG...]"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- docker.io
case $dir in *[!A-Za-z0-9._/+~-]*) die "$dir: apt's files cannot hold such a name" ;; esac

need apt-get apt-config dpkg sha256sum awk sed
own=$(dpkg --print-architecture)
arch=${arch:-$own}
work=$dir/.apt
[ "$arch" = "$own" ] || work=$dir/.apt-$arch

# apt_conf NAME: a root of apt's own under $work/NAME; lines for its configuration follow on stdin.
apt_conf() {
	mkdir -p "$work/$1/lists/partial" "$work/$1/cache/archives/partial" "$work/$1/log" "$work/$1/etc/parts"
	[ -e "$work/$1/status" ] || : >"$work/$1/status" # apt makes its caches anew where it is newer
	{ cat <<-END && cat; } >"$work/$1.conf"
		Dir::State "$work/$1/";
		Dir::State::Lists "$work/$1/lists/";
		Dir::State::status "$work/$1/status";
		Dir::State::extended_states "$work/$1/extended_states";
		Dir::Cache "$work/$1/cache/";
		Dir::Cache::pkgcache "$work/$1/pkgcache.bin";
		Dir::Cache::srcpkgcache "$work/$1/srcpkgcache.bin";
		Dir::Log "$work/$1/log/";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		APT::Architecture "$arch";
		#clear APT::Architectures;
		APT::Architectures { "$arch"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "5";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear APT::Update::Pre-Invoke;
		#clear DPkg::Post-Invoke;
		#clear DPkg::Pre-Invoke;
	END
}

# host_apt: apt-get with the host's sources, keeping Packages as they were fetched.
apt_conf host <<-'END'
	#clear Acquire::IndexTargets::deb;
	Acquire::IndexTargets::deb::Packages {
	  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
	  flatMetaKey "Packages";
	  ShortDescription "Packages";
	  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
	  flatDescription "$(RELEASE) Packages";
	  Optional "no"; KeepCompressed "true"; KeepCompressedAs "xz gz bz2"; PDiffs "no";
	};
	#clear Acquire::CompressionTypes::Order;
	Acquire::CompressionTypes::Order { "xz"; "gz"; };
END
host_apt() { apt-get -q -c "$work/host.conf" "$@"; }

# own_apt: apt-get with nothing but what lies under DIR.
own_apt() { APT_CONFIG=$work/own.conf apt-get -q "$@"; }

say "reading the host's sources"
host_apt -o pkgCacheFile::Generate=false update >"$work/update.log" 2>&1 || say "apt-get update complained: $(grep -m1 '^[EW]:' "$work/update.log" || :)"

# One line per index of the distribution's own archives.
# shellcheck disable=SC2016 # apt's own variables
host_apt indextargets --format \
	'$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(METAKEY)|$(FILENAME)|$(SOURCESENTRY)' \
	"Identifier: Packages" >"$work/all.txt"
awk -F'|' '($1 == "Debian" || $1 == "Ubuntu") && $4 !~ /\/$/' "$work/all.txt" >"$work/targets.txt"
awk -F'|' '$1 != "Debian" && $1 != "Ubuntu" { print $4 "/" $5 " (origin " $1 ")" }' "$work/all.txt" |
	while read -r other; do say "left out, not the distribution's: $other"; done
[ -s "$work/targets.txt" ] || die "apt knows no index of Debian or Ubuntu here; see $work/update.log"

# prefixes.txt: REPO_URI|PREFIX, one archive per URI.
awk -F'|' '
	{ uris[$3] || order[++n] = $3; uris[$3] = 1; origin[$3] = tolower($1)
	  if ($2 == "Debian-Security" || $4 ~ /-security$/) secure[$3]++
	  all[$3]++ }
	END { for (i = 1; i <= n; i++) { u = order[i]; p = origin[u]
	  if (secure[u] == all[u]) p = p "-security"
	  q = p; for (k = 2; used[q]++; k++) q = p "-" k
	  print u "|" q } }' "$work/targets.txt" >"$work/prefixes.txt"

prefix_of() { awk -F'|' -v u="$1" '$1 == u { print $2 }' "$work/prefixes.txt"; }

# signed_by FILE:N: the Signed-By of a source, where N is the stanza of a .sources or the line of a .list.
signed_by() {
	_file=${1%:*} _n=${1##*:}
	case $_file in
	*.sources) awk -v n="$_n" '
		BEGIN { RS = ""; FS = "\n" }
		NR == n { for (i = 1; i <= NF; i++) {
			if ($i ~ /^#/) continue
			if ($i ~ /^[^ \t]/) on = tolower($i) ~ /^signed-by:/
			if (on) { sub(/^[^ \t]*:/, "", $i); sub(/^[ \t]*/, "", $i); if ($i == ".") print ""; else if ($i != "") print $i }
		} }' "$_file" ;;
	*) sed -n "${_n}s/.*signed-by=\([^] ]*\).*/\1/p" "$_file" ;;
	esac
}

# keyring_for ORIGIN SOURCESENTRY: the key file of a source, or a file made from
# the key that stands in it; the distribution's own where the source names none.
keyring_for() {
	_by=$(signed_by "$2")
	case $_by in
	-----BEGIN*)
		printf '%s\n' "$_by" >"$work/inline.asc"
		echo "$work/inline.asc"
		return
		;;
	/*)
		_by=${_by%%[ ,]*}
		[ -r "$_by" ] && { echo "$_by"; return; }
		;;
	esac
	case $1 in
	Ubuntu) _by=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
	*) _by=/usr/share/keyrings/debian-archive-keyring.gpg ;;
	esac
	[ -r "$_by" ] || die "no keyring for $1: $_by is not there"
	echo "$_by"
}

# place FROM TO: copies what is new, atomically.
place() {
	mkdir -p "$(dirname "$2")"
	cmp -s "$1" "$2" || { cp "$1" "$2.new" && chmod 644 "$2.new" && mv "$2.new" "$2"; }
}

: >"$work/sources.new"
: >"$work/archives.txt"
while IFS='|' read -r origin _ uri suite component metakey file entry; do
	prefix=$(prefix_of "$uri")
	dists=$dir/$prefix/dists/$suite
	lists=${file%"$(printf %s "$metakey" | tr / _)"*}
	for f in InRelease Release Release.gpg; do
		if [ -f "$lists$f" ]; then place "$lists$f" "$dists/$f"; else rm -f "$dists/$f"; fi
	done
	release=$dists/InRelease
	[ -f "$release" ] || release=$dists/Release
	ending=${file##*/}
	ending=${ending##*Packages}
	want=$(listed "$release" "$metakey$ending")
	if [ -z "$want" ] || [ "${want% *}" != "$(sha256 "$file")" ]; then
		die "$suite: $metakey$ending is not the file that $release lists"
	fi
	place "$file" "$dists/$metakey$ending"
	keyring=$(keyring_for "$origin" "$entry")
	kept=$dir/keyring-$prefix.${keyring##*.}
	place "$keyring" "$kept"
	echo "deb [arch=$arch signed-by=$kept] file:$dir/$prefix $suite $component" >>"$work/sources.new"
	echo "$prefix|$suite|$component|$kept" >>"$work/archives.txt"
	say "$prefix/dists/$suite $component: $(sed -n 's/^Date: //p' "$release"), Packages$ending ${want#* } bytes"
done <"$work/targets.txt"
place "$work/sources.new" "$work/sources.list" # as new as its content: apt makes its caches anew where it is newer

# What was laid out is verified by apt itself: signatures, then indices. What the
# host says of dates (a clock that is wrong on purpose) holds here too. ForceHash
# makes --print-uris name the SHA256, not the MD5.
eval "$(apt-config shell until Acquire::Check-Valid-Until/b date Acquire::Check-Date/b)"
apt_conf own <<-END
	Dir::Etc "$work/own/etc/";
	Dir::Etc::Parts "$work/own/etc/parts/";
	Dir::Etc::sourcelist "$work/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Acquire::ForceHash "sha256";
	Acquire::Check-Valid-Until "${until:-true}";
	Acquire::Check-Date "${date:-true}";
END
own_apt -o pkgCacheFile::Generate=false update >"$work/verify.log" 2>&1 || die "what was laid out does not verify: $(grep -m1 '^[EW]:' "$work/verify.log" || tail -n1 "$work/verify.log")"
if grep -q '^[EW]:' "$work/verify.log"; then die "what was laid out does not verify: $(grep -m1 '^[EW]:' "$work/verify.log")"; fi

if [ -n "$base" ]; then
	# shellcheck disable=SC2046 # names
	set -- "$@" $(awk -F'|' '{ print $7 }' "$work/targets.txt" | sort -u | while read -r file; do /usr/lib/apt/apt-helper cat-file "$file"; done |
		awk '/^Package:/ { p = $2 } /^Priority: required/ { print p } END { print "apt" }' | sort -u)
fi

# closure.tsv from what apt says it would fetch: 'file:DIR/PREFIX/PATH' FILE SIZE SHA256:HEX
own_apt -y --no-install-recommends --print-uris install "$@" >"$work/uris.txt" 2>"$work/solve.log" ||
	die "apt finds no way to install $*: $(grep -m1 '^E:' "$work/solve.log" || tail -n3 "$work/uris.txt")"
tsv() {
	sed -n "s/^'file:\(.*\)' \([^ ]*\) \([0-9]*\) SHA256:\([0-9a-f]*\)\$/\1 \2 \3 \4/p" |
		sed 's/%2b/+/g; s/%7e/~/g; s/%5f/_/g; s/%25/%/g' |
		awk -v d="$dir/" '{ split($2, f, "_"); v = f[2]; gsub(/%3a/, ":", v); a = f[3]; sub(/\.deb$/, "", a)
			print f[1] "\t" v "\t" a "\t" $4 "\t" $3 "\t" substr($1, length(d) + 1) }' | sort
}
tsv <"$work/uris.txt" >"$dir/closure.tsv"
[ -s "$dir/closure.tsv" ] || die "apt names no files for $*"
cp "$dir/closure.tsv" "$work/pool.tsv"

# --verbatim: all stanzas of the suite's index.
for suite in $verbatim; do
	awk -F'|' -v s="$suite" '$2 == s && $3 == "main" { print $1 }' "$work/archives.txt" | sort -u >"$work/where.txt"
	[ -s "$work/where.txt" ] || die "--verbatim $suite: no such suite here"
	prefix=$(head -n1 "$work/where.txt")
	/usr/lib/apt/apt-helper cat-file "$dir/$prefix/dists/$suite/main/binary-$arch"/Packages* |
		awk -v p="$prefix" 'BEGIN { RS = ""; FS = "\n" } {
			for (i = 1; i <= NF; i++) { k = $i; sub(/:.*/, "", k); v = $i; sub(/^[^:]*: */, "", v); x[k] = v }
			print x["Package"] "\t" x["Version"] "\t" x["Architecture"] "\t" x["SHA256"] "\t" x["Size"] "\t" p "/" x["Filename"] }' >"$work/$suite.tsv"
	sum=$(awk -F'\t' '{ s += $5 } END { printf "%d", s }' "$work/$suite.tsv")
	if [ "$sum" -gt "$MAX_POOL" ]; then
		say "$suite: pool left out, $sum bytes are more than MAX_POOL=$MAX_POOL"
		continue
	fi
	say "$suite: all $(wc -l <"$work/$suite.tsv") packages, $sum bytes"
	cat "$work/$suite.tsv" >>"$work/pool.tsv"
done
sort -u -o "$work/pool.tsv" "$work/pool.tsv"

# What is missing is fetched by apt, which verifies it, and then once more by us.
awk -F'\t' '{ print $4 "  " $6 }' "$work/pool.tsv" >"$work/pool.sha256"
missing=
while IFS='	' read -r name version _ _ size path; do
	[ -f "$dir/$path" ] && [ "$(wc -c <"$dir/$path")" -eq "$size" ] || missing="$missing $name=$version"
done <"$work/pool.tsv"
if [ -n "$missing" ]; then
	say "fetching $(echo "$missing" | wc -w) packages"
	mkdir -p "$work/debs"
	# shellcheck disable=SC2086 # names and versions have no blanks
	(cd "$work/debs" && host_apt download $missing >"$work/download.log" 2>&1) ||
		die "fetching: $(grep -m1 '^E:' "$work/download.log" || tail -n1 "$work/download.log")"
	while IFS='	' read -r name version a _ _ path; do
		deb=$work/debs/${name}_$(printf %s "$version" | sed 's/:/%3a/g')_$a.deb
		if [ -f "$deb" ]; then
			mkdir -p "$dir/$(dirname "$path")"
			chmod 644 "$deb"
			mv "$deb" "$dir/$path"
		fi
	done <"$work/pool.tsv"
fi
(cd "$dir" && sha256sum --quiet --strict -c "$work/pool.sha256") || die "pool files do not have the digests that the indices say"

awk -F'\t' '{ n = $6; sub(/.*\//, "", n); print n }' "$dir/closure.tsv" | LC_ALL=C sort >"$dir/closure.txt"

# mmoci.yaml: the packages asked for stand with the archive that apt took them from.
{
	echo "# Made by ${0##*/} from this host's apt; the archives lie beside this file."
	echo "archives:"
	cut -d'|' -f1 "$work/archives.txt" | awk '!seen[$0]++' | while read -r prefix; do
		pick() { awk -F'|' -v p="$prefix" -v n="$1" '$1 == p && !seen[$n]++ { printf "%s%s", sep, $n; sep = ", " }' "$work/archives.txt"; }
		asked=
		for p in "$@"; do
			awk -F'\t' -v n="${p%%[=:/]*}" -v d="$prefix/" '$1 == n && index($6, d) == 1 { found = 1 } END { exit !found }' "$dir/closure.tsv" &&
				asked="$asked${asked:+, }${p%%[=:/]*}"
		done
		echo "- prefix: $prefix"
		echo "  mode: curated"
		echo "  url: $dir/$prefix"
		echo "  suites: [$(pick 2)]"
		echo "  components: [$(pick 3)]"
		echo "  architectures: [$arch]"
		echo "  signed-by: $(pick 4)"
		if [ -n "$asked" ]; then echo "  packages: [$asked]"; else echo "  packages: none"; fi
	done
} >"$dir/mmoci.yaml.new" && mv "$dir/mmoci.yaml.new" "$dir/mmoci.yaml"

say "closure of $*: $(wc -l <"$dir/closure.tsv") packages, $(awk -F'\t' '{ s += $5 } END { printf "%d", s }' "$dir/closure.tsv") bytes, verified"
echo "$dir"
