# 98-sources.sh: an image of a source package that is patched beside its plan, built once by sbuild of a snapshot of real packages, and
# found by the next machine.
#
# Machine A has the tree of another builder rewritten, and builds its image, and dhcp-helper in it, patched, as an ordinary user where no
# network is. Machine B has neither sbuild nor dpkg-dev: its tree, with other words and dates, has the same identity, nothing is built, and
# the .debs and the image are those of A. The mirror takes the package by its identity, and apt takes it from there. dhcp-helper needs
# nothing to be built but what each build has, and takes a second. With E2E_LONG=1 somebody builds it by hand, with what a builder gets,
# and five packages of bookworm are built twice each.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

lists
from=$E2E_CACHE/sources-upstream
once sources-upstream "$E2E_TOP/scripts/real-sources.sh" "$from" dhcp-helper >&2
upstream_version=$(awk '$1 == "dhcp-helper" { print $2 }' "$from/sources.tsv")

"$mmoci" key new -o site.asc >&2
"$mmoci" key new -o builder.asc >&2
"$mmoci" key new -o other.asc >&2
registry_start registry registry "$work/blobs"
place=$registry/site/builds

# archive UPSTREAM PREFIX LINE..: one of the upstream.
archive() {
	awk -v p="$2" '/^- prefix: / { on = $3 == p } on && !/^  packages:/' "$1/mmoci.yaml"
	shift 2
	printf '  %s\n' "$@"
}
# config UPSTREAM SOURCES NAME: a mmoci.yaml of what these need.
config() {
	echo "ref: oci:$work/$3:sources"
	echo "sign: {key: site.asc}"
	echo "trust: {keys: [site.pub.asc], builders: [builder.pub.asc]}"
	echo "archives:"
	archive "$1" debian "build-depends: [$2]" "with-sources: built"
	archive "$1" debian-security "packages: [$(awk -F'\t' 'index($6, "debian-security/") == 1 { print $1 }' "$1/closure.tsv" | paste -sd ,)]"
}
config "$from" dhcp-helper snapshot >mmoci.yaml
# What dhcp-helper depends on and no build does.
mkdir own
(cd own && apt-get -q download netbase) >&2
echo "- {prefix: own, mode: curated, debs: own}" >>mmoci.yaml
check "a snapshot takes what building dhcp-helper needs" "$mmoci" push

# --- machine A: an ordinary user

user=mmoci-e2e-$$
useradd -M -d "$work/a" "$user" # with subordinate ids
trap 'userdel "$user" 2>/dev/null; clean_up' EXIT
install -m 755 "$mmoci" mmoci-a
mkdir -p a/seed/files a/seed/pkgs/dhcp-helper/patches outside
chmod 777 outside
tar -xOf "$from"/debian/pool/main/d/dhcp-helper/dhcp-helper_*.orig.tar.gz --wildcards '*/dhcp-helper.c' >old.c
tar -xOf "$from"/debian/pool/main/d/dhcp-helper/dhcp-helper_*.orig.tar.gz --wildcards '*/Makefile' >old.mk
# The patch corrects a word. Its build also tries to leave something where it should not, and to reach somebody.
sed 's/no destination specifed/no destination specified/' old.c >new.c
awk -v out="$work/outside" '{ print } /^all:/ {
	print "\t-touch " out "/by-path /tmp/mmoci-outside-'$$' /var/tmp/mmoci-outside-'$$'"
	print "\t-ls -d " out "/.. && touch " out "/seen"
	print "\ttest $$(grep -c : /proc/net/dev) = 1"
}' old.mk >new.mk
sources=a/seed/pkgs/dhcp-helper
diff -u --label a/dhcp-helper.c --label b/dhcp-helper.c old.c new.c >$sources/patches/spell.patch || :
diff -u --label a/Makefile --label b/Makefile old.mk new.mk >52e4dc2f.patch || :
cat >$sources/pkg.yaml <<'END'
---
base: net-misc/dhcp-helper-1.1
author: Sysadmin42 <sys@example.org>
patches:
  patches/spell.patch: "Spell it right"
  https://git.example.org/dhcp-helper/commit/52e4dc2f.patch:
    "Look around"
use:
  with:
    - ipv6
    - selinux
END
cat >a/seed/container.yaml <<END
---
- vars:
    author: Sysadmin42
    name: dhcp-production
    version: 1.2-p1
    os: linux
    arch: $arch
- package:
    type: embedded
    path: ./pkgs/dhcp-helper
- sync:
    src: ./files/relay.conf
    dest: /etc/relay.conf
    recursive: True
    chmod: 0644
- image:
    type: aci
    content: |
      {
        "acKind": "ImageManifest", "acVersion": "0.6.1", "name": "{{ name }}-{{ version }}",
        "labels": [ {"name": "os", "value": "{{ os }}"}, {"name": "arch", "value": "{{ arch }}"} ],
        "app": { "exec": [ "/usr/sbin/dhcp-helper" ], "user": "0", "group": "0" }
      }
END
cat >a/seed/.buildit-config.yaml <<'END'
---
repository:
  name: binhost
  upload-type: ssh
  upload-path: containers@binhost.example.org/containers
  download-type: https
  download-path: binhost.example.org/containers
END
echo relay >a/seed/files/relay.conf
cp -r mmoci.yaml own site.asc site.pub.asc builder.asc builder.pub.asc other.asc other.pub.asc a/
chown -R "$user:" a
on_a() { (cd a && setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH="$PATH" HOME="$work/a" USER="$user" XDG_STATE_HOME="$work/a/xdg" "$@"); }
# In a network namespace of its own not even loopback is up.
alone_on_a() { (cd a && unshare -n setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH="$PATH" HOME="$work/a" USER="$user" XDG_STATE_HOME="$work/a/xdg" "$@"); }
# rewritten: all that is in the way is told at once, and nothing is written; a patch that lies there needs no network.
rewritten() {
	echo "wish: more" >>$sources/pkg.yaml
	refused 2 "pkg.yaml:6: patch https://git.example.org/dhcp-helper/commit/52e4dc2f.patch has no digest, and cannot be fetched" alone_on_a "$work/mmoci-a" image init --from seed -o app
	grep -F 'pkg.yaml:12: unknown key "wish"' refused.err
	[ ! -e a/app ]
	sed -i '/^wish/d' $sources/pkg.yaml
	install -m 644 52e4dc2f.patch $sources/patches/
	alone_on_a "$work/mmoci-a" image init --from seed -o app 2>init.err
	cat init.err
	grep -F "pkg.yaml:2: base: net-misc/dhcp-helper-1.1 is written as dhcp-helper (= $upstream_version)" init.err
	for said in "pkg.yaml:10: use: ipv6 is left out" "pkg.yaml:11: use: selinux is left out" ".buildit-config.yaml:7: left out: write sources: [binhost.example.org/containers] in mmoci.yaml"; do grep -F "$said" init.err; done
	on_a "$work/mmoci-a" source hash app/pkgs/dhcp-helper | tee hash.a
}
check "A has the tree of another builder rewritten; what is in the way is told at once" rewritten
built() {
	alone_on_a "$work/mmoci-a" image build -f app --discover "oci:$work/a/nobody" --push-to "oci:$work/a/builds" --sign-key builder.asc --scripts none -v oci:images:a >image.a 2>image.err
	cat image.a image.err
	grep -F "not in oci:$work/a/nobody, oci:$work/a/builds; it is built here" image.err
	alone_on_a "$work/mmoci-a" source pull "$(cat hash.a)" "oci:$work/a/builds" -o built
	same version "$(dpkg-deb --field a/built/dhcp-helper_*+p1_"$arch".deb Version)" "$upstream_version+p1"
	mkdir root
	dpkg-deb --extract a/built/dhcp-helper_*+p1_"$arch".deb root
	root/usr/sbin/dhcp-helper 2>said || :
	grep "no destination specified" said
	same "what the build left outside" "$(ls outside)$(find /tmp /var/tmp -maxdepth 1 -name "mmoci-outside-$$" -o -maxdepth 1 -user "$user" -print)" ""
	# A patched source package for whoever wants to build it by hand: Debian's own program unpacks it.
	(cd a && dpkg-source --no-check --extract built/dhcp-helper_*+p1.dsc "$work/unpacked")
	grep -q "no destination specified" unpacked/dhcp-helper.c
	# sha256sum is the judge of the .changes.
	(cd a/built && sed -n '/^Checksums-Sha256:/,/^[^ ]/ s/^ \([0-9a-f]*\) [0-9]* \(.*\)/\1  \2/p' ./*.changes | sha256sum -c --strict)
}
check "A, an ordinary user, builds image and package by sbuild without network; it says what it was patched to say, and leaves nothing outside" built
put() {
	on_a "$work/mmoci-a" source push built "$place" --sign-key builder.asc | tee a.put
	on_a "$work/mmoci-a" source ls "$place" | grep -F "$upstream_version+p1" | grep -F "Spell it right"
}
check "A puts it into a registry, which lists it" put

# --- machine B

mkdir -p b/bin b/src/h/p b/src/files
for p in dpkg dpkg-deb; do ln -s "$(command -v $p)" b/bin/; done
cp $sources/patches/spell.patch b/src/h/p/other-name.patch
cp 52e4dc2f.patch b/src/h/p/another.patch
cp a/seed/files/relay.conf b/src/files/
sed 's,pkgs/dhcp-helper,h,' a/seed/container.yaml >b/src/container.yaml
cat >b/src/h/pkg.yaml <<'END'
# Other words, another place.
patches:
  p/other-name.patch: {why: Somebody wished it}
  p/another.patch: The other one
suffix: "+p1"
base: dhcp-helper
END
find b/src -exec touch -d 2001-02-03T04:05:06Z {} +
on_b() { env -i PATH="$work/b/bin" HOME="$work/b" XDG_STATE_HOME="$work/b/xdg" TZ=Pacific/Kiritimati "$@"; }
found() {
	on_b "$mmoci" source hash b/src/h | tee hash.b
	same identity "$(cat hash.b)" "$(cat hash.a)"
	same identity "$(cat hash.b)" "sha256:$(sha256sum <a/built/identity.txt | cut -d' ' -f1)"
	on_b "$mmoci" source find b/src/h "$place"
	on_b "$mmoci" source build b/src/h --discover "$place" -o b/got # sbuild is not there
	on_b "$mmoci" source pull "$(cat hash.b)" "$place" -o b/built
	diff -r b/built b/got
	diff -r -x statement.txt a/built b/got # A signed it twice, once for each place
	on_b "$mmoci" image build -f b/src --discover "$place" --scripts none oci:b/images:b >image.b 2>image.err # nor here
	cat image.b image.err
	grep -F "found in $place, signed by" image.err
	same image "$(sed 's/.*@//' image.b)" "$(sed 's/.*@//' image.a)"
}
check "B, without sbuild and dpkg-dev, has the same identity, builds nothing and gets the same files, and the same image" found
missing() {
	cp b/src/h/pkg.yaml pkg.b
	echo "options: [nostrip]" >>b/src/h/pkg.yaml
	refused 4 "not in $place" on_b "$mmoci" source find b/src/h "$place"
	refused 1 "sbuild is missing" on_b "$mmoci" source build b/src/h --discover "$place" -o b/none
	[ ! -e b/none ]
	cp pkg.b b/src/h/pkg.yaml
}
check "B cannot build what nobody has built, and says what is missing" missing
# unlisted: somebody who may push fills the place with a build of the same identity.
unlisted() {
	on_a "$work/mmoci-a" source push built "$registry/other/builds" --sign-key other.asc
	refused 3 "is not used" on_b "$mmoci" source pull "$(cat hash.b)" "$registry/other/builds" -o b/none
	refused 3 "is not used" on_b "$mmoci" image build -f b/src --discover "$registry/other/builds" --scripts none oci:b/none:1
	[ ! -e b/none ]
}
check "a build that an unlisted key signed is not used" unlisted

# mirrored: the mirror takes it by its hash; a host has it from there, and who asks is told what it was built of.
mirrored() {
	{ cat mmoci.yaml; echo "- {prefix: patched, mode: curated, architectures: [$arch], sources: [\"$(cat hash.b)\"]}"; echo "sources: [$place]"; } >mirror.yaml
	on_b "$mmoci" push -f mirror.yaml
	on_b "$mmoci" prove -f mirror.yaml dhcp-helper | tee proved
	grep "^built of $(cat hash.b), signed by [0-9A-F]*$" proved
	serve_start mirror -f mirror.yaml
	apt_own host
	for p in debian debian-security own patched; do curl -sf -o host/sources/$p.sources "$serve/setup/$p.sources"; done
	own apt-get -q update >update.log 2>&1
	updated update.log
	own apt-get -q -y --no-install-recommends --download-only install dhcp-helper
	cmp host/archives/dhcp-helper_*+p1_"$arch".deb a/built/dhcp-helper_*+p1_"$arch".deb
}
check "the mirror takes it by its identity, apt takes it from there, and prove names the identity" mirrored

# full: the disk is full, of the builder's output and of the scratch files.
full() {
	mkdir small tiny
	mount -t tmpfs -o size=4m none small
	echo "$work/small" >>mounts
	mount -t tmpfs -o size=24m none tiny
	echo "$work/tiny" >>mounts
	printf '#!/bin/sh\nexec head -c 8000000 /dev/zero >"$2/dhcp-helper_1_all.deb"\n' >fill.sh
	chmod 755 fill.sh
	refused 1 "No space left on device" env TMPDIR="$work/small" "$mmoci" source build a/app/pkgs/dhcp-helper --rebuild --builder ./fill.sh --without-environment -o small/out
	same "what is left" "$(ls -A small)" ""
	refused 1 "no space left on device" env TMPDIR="$work/tiny" "$mmoci" source build a/app/pkgs/dhcp-helper --rebuild -o tiny/out
	same "what is left" "$(ls -A tiny)" ""
}
check "a full disk ends a build, and nothing of it is left" full

new_users() { go test -C "$E2E_TOP" -tags real -count=1 -run TestRealNewUsers ./internal/builder; }
check "a user who is added to the machine takes nothing from a build" new_users

[ -n "${E2E_LONG:-}" ] || exit 0

# --- by hand

# What a command gets is enough to build without us: an unpacked environment.tar, and dpkg-buildpackage in it.
cat >by-hand.sh <<'END'
#!/bin/sh
set -eu
mkdir root
tar -xpf "$1/environment.tar" -C root
mkdir root/build
cp "$1"/source/* root/build/
mknod -m 666 root/dev/null c 1 3
unshare --net --pid --fork --mount-proc=root/proc chroot root env HOME=/root TMPDIR=/tmp sh -ec 'cd /build && dpkg-source --no-check --extract *.dsc dhcp-helper-1.2 && cd dhcp-helper-* && dpkg-buildpackage -us -uc -b'
cp root/build/*.deb root/build/*.buildinfo root/build/*.changes "$2"
END
chmod 755 by-hand.sh
by_hand() {
	"$mmoci" source build a/app/pkgs/dhcp-helper --rebuild --builder ./by-hand.sh --to "$place" --sign-key other.asc -v 2>&1 | tee hand.log
	grep "the same .debs were there; this key's statement confirms them" hand.log
	"$mmoci" source pull "$(cat hash.b)" "$place" -o confirmed --confirm 2 --builder-key builder.pub.asc --builder-key other.pub.asc
	cmp a/built/dhcp-helper_*+p1_"$arch".deb confirmed/dhcp-helper_*+p1_"$arch".deb
}
check "dpkg-buildpackage, by hand in the environment's tar, makes the same .deb, and its builder's statement is the second one" by_hand

# --- five packages, twice each, the second time another day and among files of other times; and builds that hang

five=$E2E_CACHE/sources-long-upstream
names="hello tini jq dash nginx"
# shellcheck disable=SC2086 # names
"$E2E_TOP/scripts/real-sources.sh" "$five" $names >&2
mkdir -p five/real five/debs
(
	cd five
	cp ../site.asc ../site.pub.asc ../builder.pub.asc .
	config "$five" "$(echo $names | sed 's/ /, /g')" five/snapshot >mmoci.yaml
	"$mmoci" push >reference
	# Debian's own, of the same versions; a rebuild (+b1) where there is no other.
	cd debs
	while read -r _ version dir; do
		for p in $(awk '/^Binary:/ { on = 1; sub("Binary:", "") } /^[A-Z]/ { on = 0 } on { gsub(",", ""); print }' "$dir"); do
			apt-get -q download "$p=$version" || apt-get -q download "$p" || :
		done
	done <<-END
		$(cut -f 1,2,3,4 "$five/sources.tsv" | while read -r n v p d; do echo "$n $v $five/$p/$d/${n}_${v#*:}.dsc"; done)
	END
) >&2
real() {
	export MMOCI_REAL_SNAPSHOT MMOCI_REAL_DIR="$work/five/real" MMOCI_REAL_DEBS="$work/five/debs" MMOCI_REAL_SOURCES="$names"
	MMOCI_REAL_SNAPSHOT=$(cat five/reference)
	cd "$E2E_TOP"
	go test -tags real -count=1 -v -timeout 3h -run 'TestReal' ./internal/builder
}
check "real packages, built twice, are the same; a build that hangs or fills the disk is ended" real
