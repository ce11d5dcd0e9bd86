# 50-flipped.sh: one byte flipped anywhere is found, named, and nothing wrong gets a final name.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site

# flip FILE [OFFSET]: one bit of one byte, in the middle if not told; the length and the name stay.
flip() {
	python3 - "$@" <<-'END'
		import os, sys
		name = sys.argv[1]
		with open(name, "rb") as f: b = bytearray(f.read())
		i = int(sys.argv[2]) if len(sys.argv) > 2 else len(b) // 2
		b[i] ^= 1
		# Aside and renamed: what is linked elsewhere stays as it is.
		with open(name + ".flipped", "wb") as f: f.write(b)
		os.rename(name + ".flipped", name)
	END
}

# linked FROM TO: a copy made of hard links.
linked() { rm -rf "$2" && cp -al "$1" "$2"; }

# --- upstream

# a_small_upstream: a package from one small suite, with nothing it needs.
small=$(awk -F'\t' '$6 ~ /^debian\// { print $6 }' "$up/.apt/bookworm-updates.tsv" | head -n 1)
mkdir -p real
cp -al "$up/debian/dists" real/dists 2>/dev/null || cp -a "$up/debian/dists" real/dists
awk -F'\t' '{ sub(/^debian\//, "", $6); print $6 }' "$up/.apt/bookworm-updates.tsv" | while read -r f; do
	mkdir -p "real/$(dirname "$f")"
	ln "$up/debian/$f" "real/$f" 2>/dev/null || cp "$up/debian/$f" "real/$f"
done
small=${small#debian/}
suite=dists/bookworm-updates

push_from() {
	rm -rf out
	"$mmoci" push oci:out:x --url "$1" --prefix debian --suite bookworm-updates --component main --arch "$arch" \
		--keyring "$up/keyring-debian.gpg" --verbatim
}

# flipped_upstream FILE: refused with 3, over HTTP and from a directory, naming it; no tag afterwards.
flipped_upstream() {
	linked real bad
	flip "bad/$1"
	for url in "$PWD/bad" "$nginx"; do
		refused 3 "${1##*/}" push_from "$url"
		[ ! -e out/index.json ] || same "tags of the layout" 0 "$(jq '.manifests | length' out/index.json)"
	done
}
linked real bad
nginx_start bad "$work/bad"
check "the small upstream is good unflipped" push_from "$nginx"
for f in $suite/InRelease "$suite/main/binary-$arch/Packages.xz" "$small"; do
	check "upstream: ${f##*/} flipped" flipped_upstream "$f"
done

# A curated push proves its indices, too.
flipped_curated() {
	linked "$up/debian" curated-bad
	{ sign_part && selection "$work" docker.io; } | sed "s|url: $work/debian\$|url: $work/curated-bad|; s|url: $work/debian-security|url: $up/debian-security|" >curated.yaml
	index=dists/bookworm/main/binary-$arch/Packages.xz
	flip curated-bad/$index
	refused 3 Packages "$mmoci" push -f curated.yaml oci:curated:x
	[ ! -e curated/index.json ] || same "tags of the layout" 0 "$(jq '.manifests | length' curated/index.json)"
}
check "upstream: the index of a curated push flipped" flipped_curated

# --- the layout

linked "$shared/layout" layout
blob() { echo "$1/blobs/sha256/${2#sha256:}"; }
root=$(sed 's/.*@//' "$shared/docker.ref")
core=$(jq -r '.manifests[0].digest' "$(blob layout "$root")")
shard=$(jq -r '.manifests[1].digest' "$(blob layout "$root")")
coreblob() { jq -r --arg t "$1" '[.config, .layers[]] | map(select(.mediaType | test($t))) | .[0].digest' "$(blob layout "$core")"; }
row() { awk -v p="$1" -F'\t' '$1 ~ p { print $2; exit }' table.txt; }

# Which blob a path of the snapshot has, by serve, which knows them all: its ETag is the digest.
serve_start paths "oci:$work/layout:docker"
digest_at() { curl -sfI "$serve/$1" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: "\([^"]*\)"/\1/p'; }
deb=$(cd "$up" && awk -F'\t' '$1 == "docker.io" { print $6 }' closure.tsv)
{
	echo "root $root"
	echo "core $core"
	echo "shard $shard"
	echo "config $(coreblob config)"
	echo "statement $(coreblob statement)"
	echo "table $(coreblob table)"
	echo "lock $(coreblob lock)"
	echo "InRelease $(digest_at debian/dists/bookworm/InRelease)"
	echo "upstream-InRelease $(digest_at upstream/debian/dists/bookworm/InRelease)"
	echo "index $(digest_at debian/dists/bookworm/main/binary-"$arch"/Packages.gz)"
	echo "upstream-index $(digest_at upstream/debian/dists/bookworm/main/binary-"$arch"/Packages.xz)"
	echo "deb $(digest_at "$deb")"
} >kinds.txt
cat kinds.txt >&2
stop "$pid"
every_kind() {
	while read -r kind d; do
		[ -f "$(blob layout "$d")" ] || { echo "no blob for $kind: $d"; return 1; }
	done <kinds.txt
	same "kinds of blobs" 12 "$(cut -d' ' -f2 kinds.txt | sort -u | wc -l)"
}
check "every kind of blob is told apart" every_kind
extract() { "$mmoci" pull "$1" --keyring "$sitekey" --extract docker.io --host-status none -o "$2"; }
extract oci:layout:docker good >good.lines
prove() {
	"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" --keyring "debian-security=$up/keyring-debian-security.gpg"
}

"$mmoci" pull oci:layout:docker --keyring "$sitekey" -o good-tree >&2

# only_good DIR GOOD: nothing under a final name but what is right.
only_good() {
	[ -d "$1" ] || return 0
	(cd "$1" && find . -type f ! -name '.*') | while read -r f; do cmp "$1/$f" "$2/$f" || exit 1; done
}

# named KIND DIGEST ERRORS: the blob, or the file that it is.
named() {
	grep -qE "${2#sha256:}|$1|$(echo "$1" | sed 's/.*-//; s/^index$/Packages/; s/^deb$/docker.io/; s/^root$/snapshot/')" "$3" || { echo "does not name the $1:"; cat "$3"; return 1; }
}

flipped_layout() {
	linked layout bad-layout
	flip "$(blob bad-layout "$2")"
	refused 3 "" prove oci:bad-layout:docker
	named "$1" "$2" refused.err
	# extract does not read everything; what it gives is right.
	rm -rf taken
	got=0
	extract oci:bad-layout:docker taken >taken.lines 2>taken.err || got=$?
	cat taken.err
	case $got in
	0) diff -r good taken ;;
	3) only_good taken good ;;
	*) echo "extract: exit $got"; return 1 ;;
	esac
	echo "extract: exit $got"
	rm -rf tree
	got=0
	"$mmoci" pull oci:bad-layout:docker --keyring "$sitekey" -o tree >tree.out 2>tree.err || got=$?
	cat tree.err
	case $got in
	0 | 3) only_good tree good-tree ;;
	*) echo "pull -o: exit $got"; return 1 ;;
	esac
	echo "pull -o: exit $got"
}
while read -r kind d; do
	check "layout: $kind flipped" flipped_layout "$kind" "$d"
done <kinds.txt

# What extract stands on must stop it.
stops_extract() {
	for kind in root core statement InRelease index deb; do
		linked layout bad-layout
		flip "$(blob bad-layout "$(sed -n "s/^$kind //p" kinds.txt)")"
		rm -rf taken
		refused 3 "" extract oci:bad-layout:docker taken || { echo "with a flipped $kind"; return 1; }
		only_good taken good
	done
}
check "layout: extract stops at what it stands on" stops_extract

# An answer with wrong bytes is never completed.
served() {
	linked layout bad-layout
	flip "$(blob bad-layout "$(sed -n 's/^deb //p' kinds.txt)")"
	serve_start bad-serve oci:bad-layout:docker
	got=0
	curl -sf -o served.deb "$serve/$deb" || got=$?
	[ $got != 0 ] || { echo "curl was content"; return 1; }
	echo "curl: exit $got"
	not cmp -s served.deb "bad-layout/blobs/sha256/$(sed -n 's/^deb sha256://p' kinds.txt)"
	stop "$pid"
}
check "serve does not complete a flipped .deb" served

# --- the registry's storage

registry_start v3 registry "$work/storage"
skopeo --insecure-policy copy -q --all --dest-tls-verify=false oci:layout:docker "docker://$registry/site/mirror:docker" >&2
stop "$pid"
flipped_registry() {
	linked storage bad-storage
	hex=${2#sha256:}
	flip "bad-storage/docker/registry/v2/blobs/sha256/$(echo "$hex" | cut -c1-2)/$hex/data"
	registry_start bad-v3 registry "$work/bad-storage"
	rm -rf taken
	refused 3 "" extract "$registry/site/mirror:docker" taken
	named "$1" "$2" refused.err
	only_good taken good
	refused 3 "" prove "$registry/site/mirror:docker"
	stop "$pid"
}
for kind in root core InRelease index deb; do
	check "registry: $kind flipped in its storage" flipped_registry $kind "$(sed -n "s/^$kind //p" kinds.txt)"
done
