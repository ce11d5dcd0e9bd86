# 61-carrier.sh: a stick and one tar x: the snapshot brings its own program and bootstrap.sh to a host that has neither
# network nor key nor mmoci; as a systemd unit, as a static pod, under two shells, and left alone when not asked.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
GO=${GO:-go}

site
base_root

# No interface but loopback.
space=e2e-alone-$$
ip netns add $space && echo $space >>spaces
ip -n $space link set lo up

# carried SHELL-COMMAND: in $root, alone, with a proxy that is dead.
alone() {
	ip netns exec $space env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
		http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 chroot "$root" "$@"
}

{ sign_part && echo "bundle: [$arch]" && selection "$up" docker.io hello; } >carrier.yaml
made() {
	"$mmoci" push -f carrier.yaml oci-archive:stick.tar:day
	cp "$sitekey" site.asc
	tar tf stick.tar mmoci/bootstrap.sh "mmoci/$arch" oci-layout index.json
}
check "a snapshot that carries mmoci goes to an oci-archive" made

# stick NAME: $root is a minimal root with what tar takes out of the archive in /media/stick, and no more.
stick() {
	new_root "$1"
	rm -rf "$root"/etc/apt/sources.list.d/* "$root/usr/local/bin/mmoci"
	: >"$root/etc/resolv.conf"
	mkdir -p "$root/media/stick"
	cp stick.tar "$root/media/"
	in_root tar -C /media/stick -xf /media/stick.tar
	rm "$root/media/stick.tar"
}

# --- not asked

stick by-unit
untouched() {
	find "$root/etc" "$root/usr/local" "$root/var/lib" -newer "$root/media/stick/oci-layout" -type f | sort >before.txt
	for v in '' no 0 false; do
		alone env deploy_with_mirror=$v sh /media/stick/mmoci/bootstrap.sh 2>said.txt
		grep 'stays as it is' said.txt
	done
	alone sh /media/stick/mmoci/bootstrap.sh
	find "$root/etc" "$root/usr/local" "$root/var/lib" -newer "$root/media/stick/oci-layout" -type f | sort | diff before.txt -
	not alone command -v mmoci
}
check "deploy_with_mirror not set: nothing on the host changes" untouched

# --- the systemd unit, under dash, with nothing but the key that Debian has already

# systemctl of a host whose systemd is a script: what it is told it logs, and the unit's ExecStart it runs as a user without rights.
fake_systemctl() {
	mkdir -p "$root/run/systemd/system"
	cat >"$root/usr/local/bin/systemctl" <<-'END'
		#!/bin/sh
		echo "$*" >>/systemctl.log
		[ "$1 $2" = "restart mmoci-mirror.service" ] || exit 0
		# shellcheck disable=SC2046 # words
		set -- $(sed -n 's/^ExecStart=//p' /etc/systemd/system/mmoci-mirror.service)
		mkdir -p /var/lib/mmoci
		chown -R 61234 /var/lib/mmoci
		setpriv --reuid=61234 --regid=61234 --clear-groups "$@" >/serve.access 2>/serve.log &
		echo $! >/serve.pid
	END
	chmod 755 "$root/usr/local/bin/systemctl"
}
debians=/usr/share/keyrings/debian-archive-keyring.gpg
by_unit() {
	fake_systemctl
	alone env deploy_with_mirror=yes MMOCI_KEYRINGS="debian=$debians debian-security=$debians" dash /media/stick/mmoci/bootstrap.sh
	cat "$root/serve.pid" >>"$work/pids"
	healthy
	in_root docker --version
	cmp "$root/usr/local/bin/mmoci" "$root/media/stick/mmoci/$arch"
	grep -x 'daemon-reload' "$root/systemctl.log"
	grep -x 'enable --now mmoci-mirror.service' "$root/systemctl.log"
}
check "one tar x, bootstrap.sh, Debian's own key: docker is installed, the unit serves, without a network" by_unit

by_localhost() {
	rm -rf "$root/media/stick" # pulled out
	! grep -rh '^URIs:' "$root/etc/apt/sources.list.d" | grep -v '^URIs: http://127.0.0.1:8000/upstream/'
	alone apt-get -q update 2>&1 | tee update.err
	updated update.err
	alone apt-get -q -y --no-install-recommends install hello
	healthy
	in_root hello
}
check "the stick pulled out, apt-get installs another package from localhost" by_localhost

# What the host reads is the unit's; a second run finds it as it is.
again() {
	# A stick again, for the same snapshot.
	mkdir -p "$root/media/stick"
	tar -C "$root/media/stick" -xf stick.tar
	: >"$root/systemctl.log"
	lines=$(wc -l <"$root/var/log/dpkg.log")
	alone env deploy_with_mirror=yes MMOCI_KEYRINGS="debian=$debians debian-security=$debians" sh /media/stick/mmoci/bootstrap.sh >again.out
	same "output" "" "$(cat again.out)"
	same "lines of dpkg.log" "$lines" "$(wc -l <"$root/var/log/dpkg.log")"
	not grep -e restart -e daemon-reload "$root/systemctl.log"
	alone mmoci host undo
	same "files of mmoci in /etc/apt" "" "$(grep -rl mmoci "$root/etc/apt" || :)"
}
check "bootstrap.sh again changes nothing; host undo takes apt's part back" again
pid=$(cat "$root/serve.pid" || :)
[ -z "$pid" ] || kill "$pid" || :

# --- the static pod, under busybox, with the site's key, on a host whose apt had sources

stick by-pod
printf 'deb http://mirror.example.org/debian bookworm main\n' >"$root/etc/apt/sources.list"
# kubelet as far as it matters here: takes what is in the directory for manifests, runs it as the manifest says.
kubelet() {
	until [ -e "$root/etc/kubernetes/manifests/mmoci.yaml" ]; do sleep 0.1; done
	grep -q 'runAsUser: 65532' "$root/etc/kubernetes/manifests/mmoci.yaml"
	# shellcheck disable=SC2046 # words
	set -- $(sed -n 's/^    args: \[\(.*\)\]/\1/p' "$root/etc/kubernetes/manifests/mmoci.yaml" | tr -d '",')
	exec ip netns exec $space chroot --userspec=65532:65532 "$root" /usr/local/bin/mmoci "$@"
}
by_pod() {
	cp "$(command -v busybox)" "$root/usr/local/bin/busybox"
	cp site.asc "$root/media/site.asc"
	mkdir -p "$root/run/systemd/system"
	start kubelet kubelet
	alone env deploy_with_mirror=yes MMOCI_KEY=/media/site.asc MMOCI_PACKAGES=hello MMOCI_SERVE=pod MMOCI_IMAGE=registry.example.org/site/mmoci:v1 \
		MMOCI_LISTEN=0.0.0.0:8001 MMOCI_ALONE=yes busybox sh /media/stick/mmoci/bootstrap.sh
	healthy
	in_root hello
	! [ -e "$root/etc/apt/sources.list" ]
	alone apt-get -q update 2>&1 | tee update.err
	updated update.err
	alone apt-get -q -y --no-install-recommends -d install docker.io
	cp "$root/etc/kubernetes/manifests/mmoci.yaml" pod.yaml
	alone mmoci host undo
	grep mirror.example.org "$root/etc/apt/sources.list"
	! [ -e "$root/etc/kubernetes/manifests/mmoci.yaml" ]
}
check "bootstrap.sh under busybox: the static pod serves, apt knows localhost alone, host undo brings the old sources back" by_pod
manifest() { (cd "$E2E_TOP/artifacts/test" && STATIC_POD=$work/pod.yaml GOFLAGS='' $GO test -count=1 -run TestStaticPod ./...); }
check "its manifest decodes strictly with the types of Kubernetes, and is hardened" manifest

# --- sticks for years: the host keeps the last snapshots, and root keeps out of the server's directory

bounded() {
	mkdir -p tiny/DEBIAN tiny-debs
	for day in 1 2 3 4; do
		printf 'Package: tiny\nVersion: %s\nArchitecture: all\nMaintainer: Site <site@example.org>\nDescription: of a test\n' $day >tiny/DEBIAN/control
		rm -f tiny-debs/* && dpkg-deb --root-owner-group -b tiny tiny-debs >/dev/null
		{ sign_part && printf 'archives:\n- {prefix: own, mode: curated, debs: ./tiny-debs}\n'; } >tiny.yaml
		rm -rf "$root/media/tiny"
		"$mmoci" push -q -f tiny.yaml --date 2026-01-0$day "oci:$root/media/tiny:own"
		alone env deploy_with_mirror=yes MMOCI_KEY=/media/site.asc MMOCI_PACKAGES=tiny MMOCI_SERVE=pod MMOCI_IMAGE=registry.example.org/site/mmoci:v1 \
			MMOCI_MANIFESTS=/manifests MMOCI_LISTEN=0.0.0.0:8001 MMOCI_REF=oci:/media/tiny:own sh /media/stick/mmoci/bootstrap.sh
	done
	alone mmoci tag list oci:/var/lib/mmoci-mirror | tee tags.txt
	same "snapshots that stay" "own own-20260103 own-20260104" "$(sed -n 's/^\(own[^ ]*\).*/\1/p' tags.txt | sed 's/T.*//' | sort | tr '\n' ' ' | sed 's/ $//')"
	same "tiny .debs in the layout" 2 "$(grep -rl '^!<arch>' "$root/var/lib/mmoci-mirror/blobs" | xargs -r -n 1 dpkg-deb -f 2>/dev/null | grep -c '^Package: tiny$')"
	same "of root in the server's directory" "" "$(find "$root/var/lib/mmoci" -mindepth 1 -user 0)"
	! [ -e "$root/var/lib/mmoci/statements" ]
	ls "$root/var/lib/mmoci-host/statements" | grep .
}
check "four sticks: two snapshots stay, and what root remembers is not in the server's directory" bounded

# --- the program from the mirror: a host without curl or wget has apt's helper

by_mirror() {
	rm -rf "$root/media/stick" "$root/usr/local/bin/mmoci" "$root/etc/kubernetes"
	alone sh -c '! command -v curl && ! command -v wget'
	cp "$E2E_TOP/scripts/bootstrap.sh" "$root/bootstrap.sh"
	asked="deploy_with_mirror=yes MMOCI_KEY=/media/site.asc MMOCI_PACKAGES=hello MMOCI_SERVE=no MMOCI_URL=http://127.0.0.1:8001 MMOCI_REF=oci:/var/lib/mmoci-mirror:day"
	# shellcheck disable=SC2086 # words
	refused 1 "nothing would vouch" alone env $asked sh /bootstrap.sh
	# shellcheck disable=SC2086
	refused 1 "is not what MMOCI_SHA256 says" alone env $asked "MMOCI_SHA256=$(sha256sum <carrier.yaml | cut -d' ' -f1)" sh /bootstrap.sh
	! [ -e "$root/usr/local/bin/mmoci" ]
	# shellcheck disable=SC2086
	alone env $asked "MMOCI_SHA256=$(sha256sum <"$mmoci" | cut -d' ' -f1)" sh /bootstrap.sh
	cmp "$mmoci" "$root/usr/local/bin/mmoci"
	same "left in /tmp" "" "$(find "$root/tmp" -name 'tmp.*')"
}
check "bootstrap.sh fetches the program from the mirror, by its digest" by_mirror

# --- sticks that nobody vouches for, by the documentation's own line and by an mmoci that is installed

# tiny_stick DIR PROGRAM site|nobody [FLAG]: DIR/stick.tar, a snapshot of tiny that carries PROGRAM; signed by the site, or by nobody.
tiny_stick() {
	mkdir -p "$1/programs"
	cp "$2" "$1/programs/mmoci-$arch"
	{
		[ "$3" = nobody ] || sign_part
		printf 'bundle: [%s]\narchives:\n- {prefix: own, mode: curated, debs: %s/tiny-debs}\n' "$arch" "$work"
	} >"$1/tiny.yaml"
	"$mmoci" push -f "$1/tiny.yaml" --bundle-from "$1/programs" --date 2026-02-01 ${4:-} "oci-archive:$1/stick.tar:own" 2>"$1/said" >&2
	cat "$1/said"
	digest=$(sed -n 's,^mmoci/bootstrap.sh sha256:,,p' "$1/said")
}
# there DIR: $root has DIR's stick in /media/DIR and the site's key beside it.
there() {
	rm -rf "$root/media/$1" && mkdir -p "$root/media/$1"
	cp "$1/stick.tar" "$root/media/$1/"
	cp site.asc "$root/media/$1/site.pub.asc"
}
# by_the_page DIR: what bare-host.md says to type, with the digest of the site's own script.
by_the_page() {
	_line=$(sed -n 's/.*`\(mkdir stick [^`]*\)`.*/\1/p' "$E2E_TOP/artifacts/docs/bare-host.md" | sed "s/DIGEST/$digest/")
	[ -n "$_line" ] || { echo "bare-host.md has no such line"; return 1; }
	alone env MMOCI_PACKAGES=tiny MMOCI_SERVE=no sh -c "cd /media/$1 && $_line"
}
unpacked() { in_root tar -C "/media/$1" -xf "/media/$1/stick.tar"; }
bootstrapped() { # DIR VARIABLE..: the script as it lies on that stick
	_dir=$1
	shift
	alone env deploy_with_mirror=yes MMOCI_PACKAGES=tiny MMOCI_SERVE=no "$@" sh "/media/$_dir/mmoci/bootstrap.sh"
}

{ cat "$mmoci" && echo newer; } >newer
{ cat "$mmoci" && echo evil; } >evil
rm -f "$root/usr/local/bin/mmoci" "$root"/etc/mmoci/*
sticks() {
	mkdir -p nobodys sites newers
	tiny_stick nobodys evil nobody --insecure-unsigned
	tiny_stick newers newer site
	tiny_stick sites "$mmoci" site
	# What copy makes of the unsigned one has no name to run; of the site's it has, and both digests are said.
	mkdir -p copied
	"$mmoci" copy oci-archive:nobodys/stick.tar:own oci-archive:copied/stick.tar:own 2>said >&2
	grep 'nothing vouches for them' said
	not grep '^mmoci/' said
	not tar tf copied/stick.tar "mmoci/$arch"
	not tar tf copied/stick.tar mmoci/bootstrap.sh
	rm copied/stick.tar
	"$mmoci" copy --keyring site.asc oci-archive:sites/stick.tar:own oci-archive:copied/stick.tar:own 2>said >&2
	grep -x "mmoci/bootstrap.sh sha256:$digest" said
	tar tf copied/stick.tar "mmoci/$arch"
	for s in nobodys newers sites; do there $s; done
}
check "copy names programs for hosts to run only where the site vouches for them" sticks
digest=$(sed -n 's,^mmoci/bootstrap.sh sha256:,,p' sites/said)

nothing_ran() {
	! [ -e "$root/usr/local/bin/mmoci" ]
	refused 1 'computed checksum did NOT match' by_the_page nobodys
	# The site's script with the opponent's program beside it; and the opponent's script with the site's program.
	unpacked nobodys && unpacked sites
	cp "$root/media/sites/mmoci/bootstrap.sh" "$root/media/nobodys/mmoci/bootstrap.sh.site"
	mv "$root/media/nobodys/mmoci/bootstrap.sh.site" "$root/media/nobodys/mmoci/bootstrap.sh"
	refused 1 'is not the program that this script came with' bootstrapped nobodys MMOCI_KEY=/media/sites/site.pub.asc
	! [ -e "$root/usr/local/bin/mmoci" ]
	rm "$root/media/sites/mmoci/bootstrap.sh" && echo 'echo owned >/owned' >"$root/media/sites/mmoci/bootstrap.sh"
	(cd "$root/media/sites" && mv stick.tar stick.orig && tar cf stick.tar mmoci oci-layout index.json blobs)
	refused 1 'computed checksum did NOT match' by_the_page sites
	! [ -e "$root/owned" ]
	same "left in /tmp" "" "$(find "$root/tmp" -name 'tmp.*')"
}
check "a host that has nothing: no program runs but the one whose digest was typed" nothing_ran

as_the_page_says() {
	there sites
	# Whatever else the stick holds is written over nothing, least of all over the key that came another way.
	(cd "$root/media/sites" && mkdir add && echo "the stick's" >add/site.pub.asc && tar -C add -rf stick.tar site.pub.asc && rm -r add)
	by_the_page sites
	cmp site.asc "$root/media/sites/site.pub.asc"
	cmp "$mmoci" "$root/usr/local/bin/mmoci"
	in_root dpkg -s tiny
}
check "the line of bare-host.md installs from the site's stick" as_the_page_says

# An mmoci is installed: it decides. The scripts are the site's, as a typed digest would hold them to.
installed_decides() {
	there sites
	unpacked nobodys && unpacked newers && unpacked sites
	cp "$root/media/sites/mmoci/bootstrap.sh" "$root/honest.sh"
	rm "$root/media/nobodys/mmoci/bootstrap.sh"
	cp "$root/honest.sh" "$root/media/nobodys/mmoci/bootstrap.sh"
	refused 1 'does not verify oci:/media/nobodys:own' bootstrapped nobodys MMOCI_KEY=/media/sites/site.pub.asc
	cmp "$mmoci" "$root/usr/local/bin/mmoci"
	# The site's snapshot with another program in the name of its own.
	rm "$root/media/sites/mmoci/$arch"
	cp evil "$root/media/sites/mmoci/$arch"
	refused 1 'is not what the site signed' bootstrapped sites MMOCI_KEY=/media/sites/site.pub.asc
	cmp "$mmoci" "$root/usr/local/bin/mmoci"
	# A mmoci.yaml on the stick that trusts somebody else is not read.
	"$mmoci" key new -o evil.asc >&2
	cp evil.pub.asc "$root/media/nobodys/"
	printf 'trust: [evil.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: .}\n' >"$root/media/nobodys/mmoci.yaml"
	refused 1 'does not verify' alone sh -c 'cd /media/nobodys && deploy_with_mirror=yes MMOCI_SERVE=no MMOCI_PACKAGES=tiny MMOCI_KEY=/media/sites/site.pub.asc sh mmoci/bootstrap.sh'
	# Upstream's keys vouch for packages, and for no program.
	bootstrapped newers "MMOCI_KEYRINGS=own=$debians" 2>said || :
	cat said
	grep "stays: no key of the site's vouches for /media/newers/mmoci/$arch" said
	cmp "$mmoci" "$root/usr/local/bin/mmoci"
	# Another of the site's: the installed one verifies it, and is replaced.
	bootstrapped newers MMOCI_KEY=/media/sites/site.pub.asc
	cmp newer "$root/usr/local/bin/mmoci"
	same "left in /tmp" "" "$(find "$root/tmp" -name 'tmp.*')"
}
check "where an mmoci is installed, that one verifies the stick, and only then is replaced" installed_decides
