# 62-never-worse.sh: hosts that are not as they should be, under the real dpkg: mmoci install leaves each no worse than it
# found it, by dpkg --audit and apt-get check, or refuses with exit code 4, the reason, and not a byte changed.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

[ "$arch" = i386 ] && foreign=armhf || foreign=i386
apt_own check
sed -i "s/\"$arch\"; };/\"$arch\"; \"$foreign\"; };/" "$apt_conf"
"$mmoci" key new -o site.asc >&2

# deb DIR NAME VERSION [FIELD..]: a package of nothing but a file, into DIR. "Script: COMMAND" gives it a postinst, "File: PATH" another file.
deb() {
	_dir=$1 _name=$2 _version=$3
	shift 3
	rm -rf tree
	mkdir -p "$_dir" "tree/DEBIAN"
	_arch=$arch
	printf 'Package: %s\nVersion: %s\nMaintainer: Site <site@example.org>\nDescription: of a test\n' "$_name" "$_version" >tree/DEBIAN/control
	for _field; do
		case $_field in
		Architecture:*) _arch=${_field#Architecture: } ;;
		Script:*)
			printf '#!/bin/sh\n%s\n' "${_field#Script: }" >tree/DEBIAN/postinst
			chmod 755 tree/DEBIAN/postinst
			;;
		File:*) mkdir -p "tree/$(dirname "${_field#File: }")" && echo "$_name" >"tree/${_field#File: }" ;;
		*) echo "$_field" >>tree/DEBIAN/control ;;
		esac
	done
	echo "Architecture: $_arch" >>tree/DEBIAN/control
	mkdir -p "tree/usr/share/doc/$_name"
	echo "$_name $_version" >"tree/usr/share/doc/$_name/$_arch"
	dpkg-deb --root-owner-group -Znone -b tree "$_dir/${_name}_${_version}_$_arch.deb" >/dev/null
}

# snapshot NAME: what deb put into NAME/ becomes the snapshot NAME.
snapshot() {
	printf 'ref: oci:layout:%s\nsign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./%s}\n' "$1" "$1" >"$1.yaml"
	"$mmoci" push -q -f "$1.yaml" --date 2026-01-01 >&2
}

# host NAME: $root is a host with a shell and nothing else; its packages come by there FILE...
host() {
	root=$work/host-$1
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/bin" "$root/dev"
	: >"$root/var/lib/dpkg/status"
	cp "$(command -v busybox)" "$root/bin/sh"
	ln "$root/bin/sh" "$root/bin/false"
	mknod -m 666 "$root/dev/null" c 1 3
}
# dpkg's own warnings of programs that this root lacks are of no interest.
dpkg_there() { dpkg --root="$root" --force-unsafe-io "$@" 2>&1 | grep -v -e 'ldconfig' -e 'start-stop-daemon' || :; }
there() { dpkg_there --force-bad-path --install "$@"; }
export DPKG_FORCE=bad-path,unsafe-io

# state: what dpkg and apt think of $root.
audit() { dpkg --root="$root" --audit 2>&1 | grep -v '^$' | LC_ALL=C sort; }
apt_check() { own apt-get -o "Dir::State::status=$root/var/lib/dpkg/status" check >check.out 2>&1; }
version() { dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Version} ${db:Status-Status}\n' "$1" 2>/dev/null || echo none; }
tree() { (cd "$root" && find . -type f ! -path ./var/lib/dpkg/lock\* -exec sha256sum {} + | LC_ALL=C sort); }
before() {
	audit >audit.before
	apt_check && echo well >apt.before || echo ill >apt.before
	tree >tree.before
}
install_there() { "$mmoci" install -f "$snapshot.yaml" --root "$root" "$@"; }

# done_well SNAPSHOT PKG..: installed; nothing that dpkg or apt complain of that they did not before.
done_well() {
	snapshot=$1
	shift
	before
	install_there "$@"
	audit | comm -13 audit.before - >audit.new
	cat audit.new
	[ ! -s audit.new ] || return 1
	[ "$(cat apt.before)" = ill ] || apt_check || { cat check.out; return 1; }
	# And again: nothing to do.
	same "again" "" "$(install_there "$@")"
}

# left_alone SNAPSHOT REASON PKG..: refused, with the reason, and nothing is touched.
left_alone() {
	snapshot=$1 reason=$2
	shift 2
	before
	refused 4 "$reason" install_there "$@"
	tree | diff tree.before -
}

deb old libc6 1 'Multi-Arch: same'
deb old libc6 1 'Multi-Arch: same' "Architecture: $foreign"
deb old libc6-dev 1 'Depends: libc6 (= 1)'
deb old tool 1 'Depends: libc6'
deb old docker.io 1
deb new libc6 2 'Multi-Arch: same' 'Breaks: locales (<< 2)'
deb new docker-ce 5 'Depends: libc6 (>= 2), containerd.io' 'Conflicts: docker.io' 'Breaks: tool (<< 2)'
deb new containerd.io 1
deb new small 1
cp -r new all
deb all libc6-dev 2 'Depends: libc6 (= 2)'
deb all tool 2 'Depends: libc6'
snapshot new
snapshot all
o=old/ a=_$arch.deb

lockstep() {
	host lockstep
	there ${o}libc6_1$a ${o}libc6-dev_1$a
	done_well all docker-ce
	same libc6 "2 installed" "$(version libc6)"
	same libc6-dev "2 installed" "$(version libc6-dev)"
}
check "an older libc6 and libc6-dev go up together" lockstep

alone() {
	host alone
	there ${o}libc6_1$a ${o}libc6-dev_1$a
	left_alone new libc6-dev docker-ce
	done_well new small
	same libc6 "1 installed" "$(version libc6)"
}
check "libc6-dev would be left behind: refused" alone

held() {
	for p in libc6 libc6-dev; do
		host "held-$p"
		there ${o}libc6_1$a ${o}libc6-dev_1$a
		echo "$p hold" | dpkg --root="$root" --set-selections
		left_alone all 'is held' docker-ce
		done_well all small
		same libc6 "1 installed" "$(version libc6)"
	done
}
check "what is on hold stays, and what needs it changed is refused" held

partner() {
	host partner
	dpkg --root="$root" --add-architecture $foreign
	there ${o}libc6_1$a ${o}libc6_1_$foreign.deb
	left_alone new "libc6:$foreign" docker-ce
	# Where the snapshot has both they go up together.
	cp -r new both
	deb both libc6 2 'Multi-Arch: same' "Architecture: $foreign"
	snapshot both
	done_well both docker-ce
	for p in "libc6:$arch" "libc6:$foreign"; do same "$p" "2 installed" "$(version "$p")"; done
	same docker-ce "5 installed" "$(version docker-ce)"
	done_well new small
}
check "a foreign partner of Multi-Arch: same is never left behind" partner

bystander() {
	host bystander
	dpkg --root="$root" --add-architecture $foreign
	deb foreign game 1 "Architecture: $foreign" 'Depends: libc6, helper'
	deb foreign helper 1 'Multi-Arch: foreign'
	deb foreign2 helper 2
	deb foreign2 wants 1 'Depends: helper (>= 2)'
	snapshot foreign2
	there ${o}libc6_1_$foreign.deb foreign/*.deb
	# Its successor is no more Multi-Arch: foreign: the foreign package would lose it.
	left_alone foreign2 game wants
	done_well new containerd.io
	same game "1 installed" "$(version "game:$foreign")"
}
check "a foreign package keeps what it needs" bystander

# --- packages that Breaks and Conflicts

breaks() {
	host breaks
	there ${o}libc6_1$a ${o}tool_1$a
	left_alone new tool docker-ce
	done_well all docker-ce
	same tool "2 installed" "$(version tool)"
}
check "a package that Breaks is installed with what it breaks upgraded, or not at all" breaks

conflicts() {
	host conflicts
	there ${o}docker.io_1$a
	left_alone all docker.io docker-ce
	host broken-by
	deb old grudge 1 'Breaks: small (<< 2)'
	there ${o}grudge_1$a
	left_alone all grudge small
}
check "nothing is removed for it, and nothing installed that others break" conflicts

# --- packages in a state between

deb half shaky 1 'Script: exit 1'
deb half tool 1 'Depends: shaky'
deb half old-enemy 3 'Script: exit 1' 'Conflicts: small'
deb half victim 2 'Script: exit 1'
deb cure shaky 2
deb cure needs 1 'Depends: shaky'
deb cure victim 1
deb cure wants-victim 1 'Depends: victim'
deb cure hates 1 'Conflicts: shaky (<< 2)'
deb cure small 1
snapshot cure
deb same shaky 1 'Script: exit 1'
deb same needs 1 'Depends: shaky'
snapshot same

half_configured() {
	host half-configured
	there half/shaky_1$a half/tool_1$a
	same shaky "1 half-configured" "$(version shaky)"
	# Others are none of its business, and are as they were.
	done_well all small
	same shaky "1 half-configured" "$(version shaky)"
	left_alone cure shaky hates
	# One that is needed and mended by its successor.
	done_well cure needs
	same shaky "2 installed" "$(version shaky)"
}
check "half-configured: left as it is, or mended where it is needed" half_configured

half_installed() {
	host half-installed
	there half/shaky_1$a
	sed -i 's/^Status: install ok half-configured/Status: install reinstreq half-installed/' "$root/var/lib/dpkg/status"
	done_well all small
	same shaky "1 half-installed" "$(version shaky)"
	done_well cure needs
	same shaky "2 installed" "$(version shaky)"
}
check "half-installed: left as it is, or installed anew where it is needed" half_installed

enemy_between() {
	host enemy
	there half/old-enemy_3$a
	left_alone cure old-enemy small
}
check "one that is not configured still has its conflicts: refused" enemy_between

newer_between() {
	host newer
	there half/victim_2$a
	left_alone cure victim wants-victim
	same victim "2 half-configured" "$(version victim)"
}
check "a later version that is not configured is not taken back" newer_between

failing() {
	host failing
	there ${o}libc6_1$a
	before
	snapshot=same
	refused 1 'dpkg --configure -a' install_there needs
	# Of what failed dpkg tells; all else is whole.
	same "in between" "needs shaky" "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${db:Status-Status} ${Package}\n' | grep -v '^installed' | sed 's/.* //' | sort | tr '\n' ' ' | sed 's/ $//')"
	same libc6 "1 installed" "$(version libc6)"
	# Mended as it says, by what the next snapshot has.
	snapshot=cure
	install_there needs
	same "dpkg --audit" "" "$(audit)"
}
check "a maintainer script that fails: exit 1, and the next snapshot mends it" failing

collision() {
	host collision
	deb old owner 1 'File: usr/bin/thing'
	deb clash apart 1
	deb clash thing 1 'File: usr/bin/thing' 'Depends: apart'
	snapshot clash
	there ${o}owner_1$a
	before
	snapshot=clash
	refused 1 thing install_there thing
	same "dpkg --audit" "" "$(audit)"
	apt_check
	not grep -q '^Status: install ok unpacked' "$root/var/lib/dpkg/status"
	same thing "not-installed" "$(version thing | tr -d ' ')"
	grep owner "$root/usr/bin/thing"
}
check "a file of another package's: dpkg refuses, and nothing is left in between" collision
