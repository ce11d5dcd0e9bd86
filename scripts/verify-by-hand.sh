#!/bin/sh
# verify-by-hand.sh REF KEYRING...
#
# Walks the whole chain of SPEC section 2 without our code: key, statement,
# InRelease, index, stanza, blob, and makes every curated Release again, line by line, from what was proved: an
# addition to it is found whatever it is called. Needs curl, jq, gpgv, sha256sum, awk, sed, sort, xz, gzip.
# Two things it leaves to mmoci verify: the order of versions in an index, and the stanzas of the site's own packages.
#
#   REF       http(s)://HOST[:PORT]/REPO:TAG, .../REPO@sha256:HEX, DIR:TAG, DIR@sha256:HEX
#   KEYRING   FILE         the site's public keys: statement, set and curated archives
#             PREFIX=FILE  upstream's keys for a prefix: its provenance, or its own files if it is verbatim
#
# With PREFIX=FILE alone the statement is nobody's word: what is proved then is upstream's view, every byte but not
# the set, a Valid-Until of upstream's must not have passed (CHECK_VALID_UNTIL=no lets it), and a Release that names neither
# Suite nor Codename does not say of which suite it is (UNNAMED_RELEASE=yes takes the statement's word). CURL_OPTS holds further options of curl (--netrc, --cacert FILE). One line a step; exit 3 at
# the first failure, 2 for a wrong call.
set -eu
LC_ALL=C
export LC_ALL
umask 077

# fetch DIGEST FILE: a blob or manifest into FILE, hashed.
fetch() {
	hex=${1#sha256:}
	case $hex in *[!0-9a-f]* | "") fail "digest $1" ;; esac
	case $place in
	http*) curl_get "$place/blobs/sha256:$hex" "$2" ;;
	*) cp -- "$place/blobs/sha256/$hex" "$2" 2>/dev/null || fail "blob sha256:$hex is not there" ;;
	esac
	same "$hex" "$2"
}

# document DIGEST FILE: a manifest into FILE, hashed.
document() {
	case $place in
	http*) curl_get "$place/manifests/$1" "$2" && same "${1#sha256:}" "$2" ;;
	*) fetch "$1" "$2" ;;
	esac
}

# shellcheck disable=SC2086 # options are words
curl_get() {
	curl -fsSL ${CURL_OPTS:-} -H "Accept: $index_type" -H "Accept: $manifest_type" -o "$2" "$1" || fail "$1 cannot be read"
}

same() {
	got=$(sha256sum <"$2" | cut -d' ' -f1)
	[ "$got" = "$1" ] || fail "sha256:$1 has other bytes: sha256:$got"
}

fail() { echo "FAILED: $*" >&2; exit 3; }
say() { echo "$*"; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }

# binary FILE OUT: keys as gpgv reads them, without armour.
binary() {
	if grep -q '^-----BEGIN PGP PUBLIC KEY BLOCK-----' "$1"; then
		awk '/^-----BEGIN/ { on = 1; body = 0; next } /^-----END/ { on = 0 }
			on && /^$/ { body = 1; next } on && body && !/^=/ { print }' "$1" | base64 -d >"$2"
	else
		cat -- "$1" >"$2"
	fi
}

# clear KEYRING FILE OUT: the signed text of one clear-signed message and nothing else.
clear() {
	[ "$(head -n1 "$2")" = "-----BEGIN PGP SIGNED MESSAGE-----" ] || fail "$3: text before the message"
	[ "$(tail -n1 "$2")" = "-----END PGP SIGNATURE-----" ] || fail "$3: text after the signature"
	[ "$(grep -c '^-----BEGIN PGP SIGNED MESSAGE-----' "$2")" = 1 ] || fail "$3: more than one message"
	rm -f "$3"
	good "$2" --keyring "$1" --output "$3" "$2"
}

# good WHAT OPTION...: gpgv finds one good signature and none that a key it knows did not make, as apt demands; its exit code would want all.
# A key that has expired since counts (SPEC section 12), a revoked one and weak digests (not SHA256, 384, 512) do not.
good() {
	what=$1
	shift
	gpgv --status-fd 3 "$@" 3>"$work/status" 2>"$work/gpgv" || :
	signer=$(awk '$2 == "NEWSIG" { ok = 0 } $2 == "GOODSIG" || $2 == "EXPKEYSIG" { ok = 1 } $2 == "BADSIG" { bad = 1 }
		$2 == "VALIDSIG" && ok && $10 ~ /^(8|9|10)$/ && by == "" { by = $12 " " $4 } END { if (!bad) print by }' "$work/status")
	[ -n "$signer" ] || { cat "$work/gpgv" >&2; fail "no good signature: ${what##*/}"; }
	say "  ${what##*/}: signed by ${signer% *} on ${signer#* }"
}

# text FILE OUT: the text of a clear-signed message, unverified.
text() {
	awk '/^-----BEGIN PGP SIGNED/ { head = 1; next } head && /^$/ { head = 0; on = 1; next }
		/^-----BEGIN PGP SIGNATURE/ { exit } on { sub(/^- /, ""); print }' "$1" >"$2"
}

# checked RELEASE SUITE DATE: it is of that suite and, as the statement says, of that Date.
checked() {
	case $2 in
	*/) ;; # flat
	*)
		sed -n 's/^Suite: *//p; s/^Codename: *//p' "$1" >"$work/names"
		if [ ! -s "$work/names" ] && [ "${UNNAMED_RELEASE:-$site$pin}" ]; then
			say "  Release names no suite; that it is $2 is the ${UNNAMED_RELEASE:+caller}${UNNAMED_RELEASE:-statement}'s word"
		else
			grep -qx -e "$2" -e "${2%/updates}" "$work/names" || fail "Release is not of suite $2"
		fi
		;;
	esac
	[ "$(date -u -d "$(sed -n 's/^Date: *//p' "$1")" +%Y-%m-%dT%H:%M:%SZ)" = "$3" ] || fail "Release is not of $3"
	until=$(sed -n 's/^Valid-Until: *//p' "$1")
	if [ -z "$site$pin" ] && [ -n "$until" ] && [ "${CHECK_VALID_UNTIL:-yes}" != no ]; then
		[ "$(date -u -d "$until" +%s)" -ge "$(date -u +%s)" ] || fail "Release was valid until $until"
	fi
}

# indices RELEASE: "digest size path" of its Packages and Sources that are carried; all its listed digests go to named.
indices() {
	awk '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on { print $1, $2, $3 }' "$1" >"$work/listed"
	[ -s "$work/listed" ] || fail "Release lists no SHA256"
	cut -d' ' -f1 "$work/listed" | sort -u | comm -12 - "$work/here" >>"$work/named"
	sort "$work/listed" | join - "$work/here" |
		awk '$3 ~ /(^|\/)(Packages|Sources)(\.xz|\.gz)?$/ && $3 !~ /(^|\/)debian-installer\/binary-/'
}

# stanzas DIGEST PATH OUT: an index unpacked into $work/plain and, added to OUT, one stanza a line: component and kind
# of the index, then its lines, each after a \001.
stanzas() {
	fetch "sha256:$1" "$work/index"
	case $2 in
	*.xz) xz -dc "$work/index" >"$work/plain" || fail "$2 does not unpack" ;;
	*.gz) gzip -dc "$work/index" >"$work/plain" || fail "$2 does not unpack, or has more behind its end" ;;
	*) cp "$work/index" "$work/plain" ;;
	esac
	awk -v RS= -v path="$2" 'BEGIN { sub(/\.(xz|gz)$/, "", path); kind = path; sub(/.*\//, "", kind)
			if (!sub(/\/(binary-[^\/]*|source)\/[^\/]*$/, "", path)) path = "" }
		{ gsub(/\n/, "\001"); print path " " kind "\001" $0 }' "$work/plain" >>"$3"
}

# field NAME RELEASE: the value of a field, in one line.
field() {
	awk -v name="$1" 'BEGIN { name = tolower(name) ":" }
		/^[^ \t]/ { on = tolower(substr($0, 1, length(name))) == name; if (on) $0 = substr($0, length(name) + 1) }
		on { for (i = 1; i <= NF; i++) out = out (out == "" ? "" : " ") $i } END { print out }' "$2"
}

# remake PREFIX SUITE: the curated Release $work/served is, byte for byte, what is made of upstream's Release
# $work/theirs (none of the site's own archives), the dates of the statement and its indices; and the indices are
# stanzas and nothing else. Of the Release itself count Origin, Label and Codename, which the site may choose, and
# its components, architectures and sources, which must be among upstream's. Stanzas go to $work/ours.
remake() {
	: >"$work/ours"
	: >"$work/list"
	: >"$work/every"
	if [ -f "$work/theirs" ]; then up=$work/theirs; else up=$work/none && printf 'Suite: %s\n' "$2" >"$up"; fi
	awk '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on { print $1, $2, $3 }' "$work/served" >"$work/served.list"
	awk '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on { sub(/\.(xz|gz)$/, "", $3); print $3 }' "$up" | sort -u >"$work/offered"
	components=$(field Components "$work/served") archs=$(field Architectures "$work/served")
	# Component, architecture and path of each index. "-" is no component: a flat archive.
	awk -v suite="$2" -v components="$components" -v archs="$archs" '$3 ~ /(^|\/)Sources$/ { sources = 1 } END {
		n = split(components, c, " "); m = split(archs, a, " ")
		if (suite ~ /\/$/) { print "- - Packages"; if (sources) print "- source Sources"; exit }
		for (i = 1; i <= n; i++) {
			for (j = 1; j <= m; j++) if (a[j] != "all" && a[j] != "source") print c[i], a[j], c[i] "/binary-" a[j] "/Packages"
			if (sources) print c[i], "source", c[i] "/source/Sources"
		}
	}' "$work/served.list" >"$work/wanted.ix"
	while read -r c a p; do
		[ "$up" = "$work/none" ] || offers "$1 $2" "$c" "$a" "$p"
		d=$(awk -v p="$p.gz" '$3 == p { print $1; exit }' "$work/served.list")
		if [ -z "$d" ] || ! grep -qx "$d" "$work/here"; then fail "$1 $2: index $p is listed, but not carried"; fi
		stanzas "$d" "$p.gz" "$work/ours"
		echo "$d" >>"$work/named"
		awk -v RS= '{ print $0 "\n" }' "$work/plain" | cmp -s - "$work/plain" || fail "$1 $2: index $p is more than stanzas"
		sed -n 's/^Package: *//p' "$work/plain" | sort -c 2>/dev/null || fail "$1 $2: index $p is not in order of name"
		echo "$(sha256sum <"$work/plain" | cut -d' ' -f1) $(wc -c <"$work/plain") $p" >>"$work/list"
		echo "$d $(wc -c <"$work/index") $p.gz" >>"$work/list"
		case $a in - | source) continue ;; esac
		awk -v RS= -v a="$a" '{ ok = 0; for (n = split($0, l, "\n"); n > 0; n--) if (l[n] == "Architecture: " a || l[n] == "Architecture: all") ok = 1 }
			!ok { exit 1 }' "$work/plain" || fail "$1 $2: index $p has a package for another architecture"
		echo "$c $(awk -v RS= '("\n" $0 "\n") ~ /\nArchitecture: all\n/ { print $0 "\n" }' "$work/plain" | sha256sum | cut -d' ' -f1)" >>"$work/every"
	done <"$work/wanted.ix"
	[ -z "$(sort -u "$work/every" | cut -d' ' -f1 | uniq -d)" ] || fail "$1 $2: packages for all architectures are not in all of its indices"
	{
		line() { [ -z "$2" ] || echo "$1: $2"; }
		yes() { case $(field "$1" "$up" | tr A-Z a-z) in yes | true | with | on | enable | 1) line "$1" yes ;; esac; }
		line Origin "$(field Origin "$work/served")"
		line Label "$(field Label "$work/served")"
		line Suite "$(field Suite "$up")"
		line Version "$(field Version "$up")"
		line Codename "$(field Codename "$work/served")"
		line Changelogs "$(field Changelogs "$up")"
		line Date "$(stated date)"
		line Valid-Until "$(stated valid-until)"
		yes NotAutomatic
		yes ButAutomaticUpgrades
		line Acquire-By-Hash yes
		line Architectures "$(echo "$archs" | tr ' ' '\n' | sort -u | grep -vx -e all -e source | tr '\n' ' ' | sed 's/ $//')"
		line Components "$(echo "$components" | tr ' ' '\n' | sort -u | tr '\n' ' ' | sed 's/ $//')"
		line Description "$(field Description "$up")"
		echo SHA256:
		sort -k3,3 "$work/list" | sed 's/^/ /'
		echo No-Support-for-Architecture-all: Packages
	} >"$work/again"
	cmp -s "$work/again" "$work/served" ||
		fail "$1 $2: Release is not the one made again: $(diff "$work/served" "$work/again" | sed -n 's/^[<>]/&/p' | head -n2 | tr '\n' ' ')"
	for name in Origin Label Codename; do
		if [ "$up" != "$work/none" ] && [ "$(field $name "$work/served")" != "$(field $name "$up")" ]; then
			say "  named by the site: $name $(field $name "$work/served") (upstream's: $(field $name "$up"))"
		fi
	done
	say "  every line of its Release is accounted for"
}

# stated WHAT: a date of the statement, as a Release has it; nothing if it has none.
stated() {
	on=$(awk -v w="$1" '$1 == w { print $2; exit }' "$work/statement")
	[ -z "$on" ] || date -u -d "$on" '+%a, %d %b %Y %H:%M:%S UTC'
}

# offers WHAT COMPONENT ARCHITECTURE PATH: upstream's Release has such a component and architecture, or such sources.
offers() {
	if [ "$3" = source ]; then
		grep -qxF "$4" "$work/offered" || fail "$1: upstream has no $4"
	elif [ "$2" != - ]; then
		awk -v c="$2" -v fields="$(field Components "$up")" 'BEGIN { n = split(fields, f, " "); for (i = 1; i <= n; i++) if (f[i] == c) ok = 1 }
			index($0, c "/binary-") == 1 && substr($0, length(c) + 2) ~ /^binary-[^\/]*\/Packages$/ { ok = 1 }
			$0 == c "/source/Sources" { ok = 1 } END { exit !ok }' "$work/offered" || fail "$1: component $2 is none of upstream's"
		awk -v a="$3" -v fields="$(field Architectures "$up")" 'BEGIN { n = split(fields, f, " "); for (i = 1; i <= n; i++) if (f[i] == a) ok = 1 }
			index($0, "/binary-" a "/Packages") { ok = 1 } END { exit !ok }' "$work/offered" || fail "$1: architecture $3 is none of upstream's"
	fi
}

# files STANZAS: "digest size" of the pool files that they name.
files() {
	tr '\001' '\n' <"$1" | awk '/^SHA256: / { print $2 } /^Checksums-Sha256:/ { on = 1; next } /^[^ ]/ { on = 0 } on && NF == 3 { print $1 }' | sort -u
}

# pool STANZAS all|some: hashes the pool files that stanzas name; all of them must be here, or some.
pool() {
	files "$1" >"$work/wanted"
	comm -12 "$work/wanted" "$work/here" >"$work/found"
	if [ "$2" = all ]; then
		comm -23 "$work/wanted" "$work/here" >"$work/lost"
		[ ! -s "$work/lost" ] || fail "$(wc -l <"$work/lost") pool files are not carried; first: sha256:$(head -n1 "$work/lost")"
	fi
	cat "$work/found" >>"$work/named"
	while read -r d; do
		grep -qx "$d" "$work/hashed" && continue
		fetch "sha256:$d" "$work/blob"
		echo "$d" >>"$work/hashed"
	done <"$work/found"
	say "  $(wc -l <"$work/found") pool files hashed, $(grep -c . "$1") stanzas"
}

# release ROLE-PREFIX KEYRING|"" DIR: the Release text of a suite into $work/release, by whatever forms the statement lists.
release() {
	rm -f "$work/release" "$work/text" "$work/release.gpg"
	d=$(awk -v r="$1inrelease" '$2 == r { print $3 }' "$work/files")
	if [ -n "$d" ]; then
		fetch "$d" "$work/inrelease"
		if [ -n "$2" ]; then clear "$2" "$work/inrelease" "$work/release"; else text "$work/inrelease" "$work/release"; fi
	fi
	d=$(awk -v r="$1release" '$2 == r { print $3 }' "$work/files")
	if [ -z "$d" ]; then
		[ -f "$work/release" ] || fail "the statement lists neither ${1}inrelease nor ${1}release"
		return 0
	fi
	fetch "$d" "$work/text"
	g=$(awk -v r="$1release-gpg" '$2 == r { print $3 }' "$work/files")
	if [ -n "$2" ]; then
		if [ -n "$g" ]; then
			fetch "$g" "$work/release.gpg"
			good release.gpg --keyring "$2" "$work/release.gpg" "$work/text"
		else # a verbatim archive's upstream may have none: InRelease must say the same, below
			[ "$mode" = verbatim ] && [ -f "$work/release" ] || fail "Release without Release.gpg"
		fi
	fi
	if [ -f "$work/release" ]; then
		diff -q "$work/release" "$work/text" >/dev/null || fail "InRelease and Release differ"
	else
		mv "$work/text" "$work/release"
	fi
}

[ $# -ge 2 ] || usage
ref=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/keys"
site=
for k in "$@"; do
	case $k in
	*=*) binary "${k#*=}" "$work/keys/${k%%=*}" ;;
	*) binary "$k" "$work/keys/.one"; cat "$work/keys/.one" >>"$work/site"; site=$work/site ;;
	esac
done
index_type=application/vnd.oci.image.index.v1+json
manifest_type=application/vnd.oci.image.manifest.v1+json

# 1 The root.
pin= tag=
case $ref in
*@sha256:*) pin=${ref##*@}; name=${ref%@*} ;;
*) tag=${ref##*:}; name=${ref%:*} ;;
esac
case $ref in
http*)
	rest=${name#*://}
	case $rest in */*) ;; *) usage ;; esac
	place=${name%%://*}://${rest%%/*}/v2/${rest#*/}
	place=${place%:"$tag"}
	curl_get "$place/manifests/${pin:-$tag}" "$work/root" ;;
*)
	place=$name
	d=${pin:-$(jq -r --arg t "$tag" '[.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $t) | .digest] | last // empty' "$place/index.json")}
	[ -n "$d" ] || fail "no tag $tag"
	fetch "$d" "$work/root" ;;
esac
root=sha256:$(sha256sum <"$work/root" | cut -d' ' -f1)
[ -z "$pin" ] || [ "$pin" = "$root" ] || fail "$pin has other bytes: $root"
[ "$(jq -r .mediaType "$work/root")" = "$index_type" ] || fail "root is no image index"
say "root $root${pin:+, as pinned}"

# 2 Core and shards: which blobs are here.
document "$(jq -r '.manifests[0].digest' "$work/root")" "$work/core"
case $(jq -r .config.mediaType "$work/core") in
application/vnd.mmoci.snapshot.config.v1+json) format=1 ;;
application/vnd.mmoci.snapshot.config.v2+json) format=2 ;;
*) fail "not a snapshot of format 1 or 2" ;;
esac
jq -r '.layers[].digest' "$work/core" | sed 's/^sha256://' >"$work/layers"
sed -n '4,$p' "$work/layers" >"$work/unsorted"
for d in $(jq -r '.manifests[1:][].digest' "$work/root"); do
	document "$d" "$work/shard"
	jq -r '.layers[].digest' "$work/shard" | sed 's/^sha256://' >>"$work/unsorted"
done
sort -u "$work/unsorted" >"$work/here"
: >"$work/named"
: >"$work/hashed"
say "core, $(jq '.manifests | length - 1' "$work/root") shards, $(wc -l <"$work/here") files"

# 3 The statement.
fetch "sha256:$(sed -n 1p "$work/layers")" "$work/signed"
case $(jq -r '.layers[0].mediaType' "$work/core") in
*+pgp)
	if [ -n "$site" ]; then
		say "statement: signed"
		clear "$site" "$work/signed" "$work/statement"
	else
		say "statement: signature not verified, no key of the site's given"
		text "$work/signed" "$work/statement"
	fi ;;
*)
	[ -z "$site" ] || [ -n "$pin" ] || fail "statement is not signed, but a key is demanded"
	say "statement: not signed"
	cp "$work/signed" "$work/statement" ;;
esac
[ "$(head -n1 "$work/statement")" = mmoci-statement-v$format ] || fail "not a statement of format $format"
[ -z "$(awk 'NR > 1 { print $1 }' "$work/statement" | grep -vxE 'needs|date|valid-until|encoder|table|lock|image|referrer|archive|upstream-key|suite|file')" ] ||
	fail "the statement has a line that this script does not know"
say "  $(grep -m 1 '^date ' "$work/statement")"
n=2
for what in table lock; do
	[ "$(awk -v w=$what '$1 == w { print $2; exit }' "$work/statement")" = "sha256:$(sed -n ${n}p "$work/layers")" ] || fail "$what is not the statement's"
	fetch "sha256:$(sed -n ${n}p "$work/layers")" "$work/$what"
	say "  $what is the statement's"
	n=$((n + 1))
done
awk '$1 == "file" { sub(/^sha256:/, "", $3); print $3 }' "$work/statement" | sort -u >"$work/signatures"
[ "$(sed -n '4,$p' "$work/layers" | sort -u)" = "$(cat "$work/signatures")" ] || fail "the core's signature files are not the statement's"
cat "$work/signatures" >>"$work/named"

# 4 Each suite of each archive.
for k in "$work/keys"/*; do
	[ -f "$k" ] || continue
	grep -q "^archive ${k##*/} " "$work/statement" || fail "a key is given for ${k##*/}, the snapshot has no such archive"
done
proved=0
awk '$1 == "archive" { a = $2 " " $3 " " $4 } $1 == "suite" { print a, $2 }' "$work/statement" >"$work/suites"
while read -r prefix mode class suite; do
	rm -f "$work/theirs"
	awk -v p="$prefix" -v s="$suite" '$1 == "archive" { a = $2 } $1 == "suite" { u = $2 } $1 == "file" && a == p && u == s' "$work/statement" >"$work/files"
	date=$(awk '$2 !~ /^upstream-/ { print $5; exit }' "$work/files")
	theirs=
	[ -f "$work/keys/$prefix" ] && theirs=$work/keys/$prefix
	own=$site
	[ "$mode" = verbatim ] && own=$theirs
	[ -z "$theirs" ] || [ "$class" = upstream ] || fail "$prefix: upstream's key is given, the statement calls it the site's own"
	if [ -z "$site$pin$own$theirs" ]; then
		say "$prefix $suite: skipped, no key given"
		continue
	fi
	if [ "$mode" = verbatim ] || [ -n "$site$pin" ]; then
		say "$prefix $suite ($mode, $class), as served${own:+, signature verified}"
		release "" "$own"
		checked "$work/release" "$suite" "$date"
		if [ "$mode" = verbatim ]; then
			: >"$work/ours"
			indices "$work/release" >"$work/ix"
			while read -r d _ p; do stanzas "$d" "$p" "$work/ours"; done <"$work/ix"
			pool "$work/ours" all
		fi
		cp "$work/release" "$work/served"
		proved=$((proved + 1))
	fi
	if [ "$mode" = curated ] && [ "$class" = upstream ]; then
		say "$prefix $suite, upstream's${theirs:+, signature verified}"
		release upstream- "$theirs"
		checked "$work/release" "$suite" "$(awk '$2 ~ /^upstream-/ { print $5; exit }' "$work/files")"
		cp "$work/release" "$work/theirs"
		: >"$work/upstream"
		indices "$work/release" >"$work/ix"
		while read -r d _ p; do stanzas "$d" "$p" "$work/upstream"; done <"$work/ix"
		pool "$work/upstream" some
		proved=$((proved + 1))
	fi
	if [ "$mode" = curated ] && [ -n "$site$pin" ]; then
		say "$prefix $suite, made again"
		remake "$prefix" "$suite"
		pool "$work/ours" all
		if [ "$class" = upstream ]; then
			sort -u "$work/ours" >"$work/a"
			sort -u "$work/upstream" | comm -23 "$work/a" - >"$work/foreign"
			[ ! -s "$work/foreign" ] || fail "$prefix $suite: $(wc -l <"$work/foreign") stanzas are not upstream's; first: $(head -n1 "$work/foreign" | cut -d"$(printf '\001')" -f2)"
			say "  every stanza is one of upstream's, byte for byte"
		fi
	fi
done <"$work/suites"
[ "$proved" -gt 0 ] || fail "no key fits any archive"

# 5 The images, from the statement's lines down to the last layer. Only the site says which there are.
if [ -n "$site$pin" ]; then
	awk '$1 == "image" || $1 == "referrer" { sub(/^sha256:/, "", $(NF - 1)); print $(NF - 1) }' "$work/statement" | sort -u >"$work/documents"
	while [ -s "$work/documents" ]; do
		: >"$work/below"
		while read -r d; do
			fetch "sha256:$d" "$work/document"
			echo "$d" >>"$work/named"
			jq -e '[.. | objects | .urls? // empty] == [] and (has("manifests") != has("layers"))' "$work/document" >/dev/null || fail "sha256:$d is no document of an image, or names something elsewhere"
			jq -r '.manifests[]?.digest' "$work/document" | sed 's/^sha256://' >>"$work/below"
			jq -r '.config.digest?, .layers[]?.digest | strings' "$work/document" | sed 's/^sha256://' >"$work/parts"
			while read -r b; do
				echo "$b" >>"$work/named"
				grep -qx "$b" "$work/hashed" && continue
				fetch "sha256:$b" "$work/part"
				echo "$b" >>"$work/hashed"
			done <"$work/parts"
		done <"$work/documents"
		sort -u "$work/below" >"$work/documents"
	done
	awk '$1 == "image" { print "image " $2 ": " $3 ", every byte" }' "$work/statement"
fi

# 6 Nothing else is below the root.
if [ -n "$site$pin" ]; then
	sort -u "$work/named" | comm -13 - "$work/here" >"$work/extra"
	[ ! -s "$work/extra" ] || fail "$(wc -l <"$work/extra") blobs are named by nothing; first: sha256:$(head -n1 "$work/extra")"
	say "nothing else is below the root"
fi
say "OK $root"
