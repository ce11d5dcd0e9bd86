# 98-sources.sh: a patched source package, built once by sbuild of a snapshot of real packages, and found by the next machine.
#
# Machine A builds hello, patched, where no network is, and puts it into a registry of distribution's. Machine B has neither sbuild
# nor dpkg-dev: the pkg.yaml elsewhere, with other words and dates, has the same identity there, nothing is built, the .debs are those
# of A byte for byte, and mirror and image that are made of them have A's digests.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

lists
from=$E2E_CACHE/sources-upstream
once hello-source "$E2E_TOP/scripts/real-sources.sh" "$from" hello >&2
upstream_version=$(awk '$1 == "hello" { print $2 }' "$from/sources.tsv")

"$mmoci" key new -o site.asc >&2
"$mmoci" key new -o builder.asc >&2
"$mmoci" key new -o other.asc >&2
registry_start registry registry "$work/blobs"
place=$registry/site/builds

# archive PREFIX LINE..: one of the upstream.
archive() {
	awk -v p="$1" '/^- prefix: / { on = $3 == p } on && !/^  packages:/' "$from/mmoci.yaml"
	shift
	printf '  %s\n' "$@"
}
listed() { awk -F'\t' -v p="$1/" 'index($6, p) == 1 { print $1 }' "$from/closure.tsv" | paste -sd ,; }
{
	echo "ref: oci:snapshot:hello"
	echo "sign: {key: site.asc}"
	echo "trust: {keys: [site.pub.asc], builders: [builder.pub.asc]}"
	echo "archives:"
	archive debian "build-depends: [hello]" "with-sources: built"
	archive debian-security "packages: [$(listed debian-security)]"
} >mmoci.yaml
check "a snapshot takes what building hello needs" "$mmoci" push

# --- machine A

mkdir -p a/pkgs/hello
tar -xOf "$from"/debian/pool/main/h/hello/hello_*.orig.tar.gz --wildcards '*/src/hello.c' >hello.c
sed 's/_("Hello, world!")/_("Hello, patched world!")/' hello.c >patched.c
diff -u --label a/src/hello.c --label b/src/hello.c hello.c patched.c >a/pkgs/hello/greet.patch || :
cat >a/pkgs/hello/pkg.yaml <<END
base: hello (= $upstream_version)
author: Sysadmin42 <sys@example.org>
suffix: +p1
patches: {greet.patch: Say that it is patched}
options: [nocheck]
END
on_a() { XDG_STATE_HOME=$work/a/xdg "$@"; }
# In a network namespace of its own not even loopback is up.
built() {
	on_a unshare -n "$mmoci" source build -v a/pkgs/hello -o a/built
	same version "$(dpkg-deb --field a/built/hello_*+p1_"$arch".deb Version)" "$upstream_version+p1"
	mkdir root
	dpkg-deb --extract a/built/hello_*+p1_"$arch".deb root
	same greeting "$(root/usr/bin/hello)" "Hello, patched world!"
	# A patched source package for whoever wants to build it by hand: Debian's own program unpacks it.
	(cd a && dpkg-source --no-check --extract built/hello_*+p1.dsc unpacked)
	grep -q 'Hello, patched world!' a/unpacked/src/hello.c
}
check "A builds it by sbuild without network; it says what it was patched to say, and dpkg-source takes its source" built
put() {
	on_a "$mmoci" source push a/built "$place" --sign-key builder.asc | tee a/put
	on_a "$mmoci" source ls "$place" | grep -F "$upstream_version+p1" | grep -F "Say that it is patched"
}
check "A puts it into a registry, which lists it" put

# --- machine B

mkdir -p b/bin b/src/h/p
for p in dpkg dpkg-deb; do ln -s "$(command -v $p)" b/bin/; done
cp a/pkgs/hello/greet.patch b/src/h/p/other-name.patch
cat >b/src/h/pkg.yaml <<'END'
# Other words, another place.
options: [nocheck]
patches:
  p/other-name.patch: {why: Somebody wished it}
suffix: "+p1"
base: hello
END
find b/src -exec touch -d 2001-02-03T04:05:06Z {} +
on_b() { env -i PATH="$work/b/bin" HOME="$work/b" XDG_STATE_HOME="$work/b/xdg" TZ=Pacific/Kiritimati "$@"; }
found() {
	on_b "$mmoci" source hash b/src/h | tee hash.b
	same identity "$(cat hash.b)" "$(on_a "$mmoci" source hash a/pkgs/hello)"
	same identity "$(cat hash.b)" "sha256:$(sha256sum <a/built/identity.txt | cut -d' ' -f1)"
	on_b "$mmoci" source find b/src/h "$place"
	on_b "$mmoci" source build b/src/h --discover "$place" -o b/got # sbuild is not there
	on_b "$mmoci" source pull "$(cat hash.b)" "$place" -o b/built
	for d in a/built/*.deb; do
		cmp "$d" "b/built/$(basename "$d")"
		cmp "$d" "b/got/$(basename "$d")"
	done
}
check "B, without sbuild and dpkg-dev, has the same identity, builds nothing and gets the same .debs" found
missing() {
	sed -i 's/nocheck/nocheck, nodocs/' b/src/h/pkg.yaml
	refused 4 "not in $place" on_b "$mmoci" source find b/src/h "$place"
	refused 1 "sbuild is missing" on_b "$mmoci" source build b/src/h --discover "$place" -o b/none
	[ ! -e b/none ]
}
check "B cannot build what nobody has built, and says what is missing" missing
# unlisted: somebody who may push fills the place with a build of the same identity.
unlisted() {
	on_a "$mmoci" source push a/built "$registry/other/builds" --sign-key other.asc
	refused 3 "is not used" on_b "$mmoci" source pull "$(cat hash.b)" "$registry/other/builds" -o b/none
	[ ! -e b/none ]
}
check "a build that an unlisted key signed is not used" unlisted

# The mirror that has the package, and an image of it, on each machine of its own files.
of_them() {
	for m in a b; do
		{
			echo "sign: {key: site.asc}"
			echo "trust: [site.pub.asc]"
			echo "archives:"
			echo "- {prefix: site, mode: curated, debs: $m/built, packages: all}"
			archive debian "packages: [libc6]"
		} >$m.yaml
		printf 'arch: %s\npackages: ["hello (= %s+p1)"]\nscripts: none\nconfig: {entrypoint: [/usr/bin/hello]}\n' "$arch" "$upstream_version" >$m/image.yaml
		"on_$m" "$mmoci" push -q -f $m.yaml --date 2026-11-28T00:00:00Z "oci:$m.mirror:site" >$m.push
		"on_$m" "$mmoci" image build -q -f $m/image.yaml --config $m.yaml --from "oci:$m.mirror:site" "oci:$m.images:hello" >$m.image
		cat $m.push $m.image
	done
	same mirror "$(sed 's/.*@//' a.push)" "$(sed 's/.*@//' b.push)"
	same image "$(sed 's/.*@//' a.image)" "$(sed 's/.*@//' b.image)"
}
check "mirrors and images that A and B make of the package have the same digests" of_them
