# 92-image-scripts.sh: maintainer scripts run by dpkg in a root of their own; what they make against mmdebstrap's trees of the
# same packages, ldconfig, openssl; what is not reproducible, an ordinary user, kills. E2E_LONG=1: postgresql and docker.io, too.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

real="nginx-light redis-server libblas3 ca-certificates python3-minimal ssl-cert iputils-ping libcap2-bin"
[ -z "${E2E_LONG:-}" ] || real="$real postgresql docker.io python3"
up=$E2E_CACHE/scripts-upstream
lists
# shellcheck disable=SC2046,SC2086 # names
"$E2E_TOP/scripts/real-upstream.sh" "$up" $real $(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p') >&2
"$mmoci" key new -o site.asc >&2
{ printf 'ref: oci:%s/snapshot:all\nsign: {key: site.asc}\ntrust: [site.pub.asc]\n' "$work"; cat "$up/mmoci.yaml"; } >mmoci.yaml
"$mmoci" push >&2

. "$E2E_TOP/scripts/e2e/image-trees.sh"

image whole yes nginx-light redis-server libblas3 ca-certificates python3-minimal
image large yes postgresql docker.io python3
image part no nginx-light redis-server libblas3 ca-certificates python3-minimal
check "five packages with Essential: mmdebstrap's tree but for the kinds that SPEC names" against_mmdebstrap whole
[ -z "${E2E_LONG:-}" ] || check "postgresql, docker.io and python3, too" against_mmdebstrap large

# What belongs to helpers, or is made of all packages at once, is not there or otherwise: dpkg's and debconf's lists, the cache
# of libraries, the shells and the alternatives of helpers.
without_helpers() {
	"$mmoci" image build -f part.yaml oci:images:part
	unpacked part
	tree part/rootfs >part.tree
	cut -f 1 part.tree >part.paths
	LC_ALL=C join -t "$(printf '\t')" part.paths whole.tree >both.tree
	{ diff part.tree both.tree || :; } | sed -n 's/^[<>] \([^\t]*\)\t.*/\1/p' | LC_ALL=C sort -u |
		grep -vE '^(var/lib/dpkg/(status|diversions|triggers/.*)|var/cache/debconf/(config|templates).dat|etc/ld.so.cache|etc/shells|etc/(passwd|group|shadow|gshadow)|var/cache/debconf.*)$' >differ || :
	cat differ
	[ ! -s differ ]
	"$mmoci" image lock -f part.yaml -o part.lock
	sed -n 's/^package \([^ ]*\) \([^ ]*\) \([^ ]*\) .*/\1 \2 \3/p' part.lock | LC_ALL=C sort >want
	dpkg-query --admindir=part/rootfs/var/lib/dpkg -W -f '${Package} ${Version} ${Architecture} ${Status}\n' | LC_ALL=C sort >got
	sed 's/$/ install ok installed/' want | diff - got
	same "dpkg --audit" "" "$(dpkg --root=part/rootfs --audit)"
	dpkg --root=part/rootfs --verify >changed
	cat changed
	[ ! -s changed ]
}
check "the same without Essential: the same files, and dpkg has nothing to say" without_helpers

scripts_did() {
	root=part/rootfs
	[ -e "$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)/libblas.so.3" ] || readlink -e "$root"/usr/lib/*/libblas.so.3 ||
		readlink "$root$(readlink "$root"/usr/lib/*/libblas.so.3)"
	grep -q '^redis:' $root/etc/passwd
	same "redis' directory" "$(sed -n 's/^redis:x:\([0-9]*\):.*/\1/p' $root/etc/passwd)" "$(stat -c %u $root/var/lib/redis)"
	[ -L $root/etc/nginx/sites-enabled/default ]
	cp -a $root linked
	rm -f linked/etc/ld.so.cache
	/sbin/ldconfig -r linked
	cmp linked/etc/ld.so.cache $root/etc/ld.so.cache
	/sbin/ldconfig -p -C $root/etc/ld.so.cache | grep -q 'libc.so.6 '
	chroot whole/rootfs python3 -c 'import sys; sys.exit(0)'
	openssl req -x509 -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.crt -subj /CN=leaf -days 2 2>/dev/null
	refuted=$(openssl verify -CAfile $root/etc/ssl/certs/ca-certificates.crt -no-CApath -no-CAstore leaf.crt 2>&1 || :)
	case $refuted in *"self-signed"*) ;; *) echo "$refuted"; return 1 ;; esac
	for c in $root/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt $root/usr/share/ca-certificates/mozilla/DigiCert_Global_Root_G2.crt; do
		openssl verify -CAfile $root/etc/ssl/certs/ca-certificates.crt -no-CApath -no-CAstore "$c"
	done
}
check "alternatives, users, certificates and the libraries' cache are what ldconfig and openssl expect" scripts_did

oracles() {
	MMOCI_ROOTS="$arch=$work/linked $arch=$work/whole.theirs" SOURCE_DATE_EPOCH=$(epoch whole.lock) \
		go test -C "$E2E_TOP" -tags real -count=1 -run 'TestLinkerCache|TestCertificates' -v ./internal/rootfs/fixup >fixup.log 2>&1 || { tail -n 20 fixup.log; return 1; }
	grep -q -- '--- PASS: TestLinkerCacheOfRoots' fixup.log
	grep -q -- '--- PASS: TestCertificatesOfRoots' fixup.log
}
check "what is made in place of scripts is what ldconfig and update-ca-certificates make, byte for byte" oracles

told() {
	"$mmoci" image scripts oci:images:part >account
	cat account
	for p in $(sed -n 's/^package \([^ ]*\) .*/\1/p' part.lock); do grep -q "^ *$p[ 	]" account || { echo "no line for $p"; return 1; }; done
	grep -q 'redis-server.*postinst.*ran' account
}
check "the account has a line for every package" told

image key no ssl-cert iputils-ping libcap2-bin
refused_twice() {
	refused 1 "etc/ssl/private/ssl-cert-snakeoil.key" "$mmoci" image build -f key.yaml --twice oci:never:x
	[ ! -e never ]
}
check "a key that every build makes anew is refused by --twice, by name, and nothing is written" refused_twice

# Without --twice it is built, and proved in all but what its scripts made.
made_otherwise() {
	"$mmoci" image build -f key.yaml oci:images:key 2>key.err
	cat key.err
	grep -q 'bin/ping: layers have no file capabilities' key.err
	"$mmoci" image scripts oci:images:key >key.account
	grep -q '^-  *-  *-  *capabilities  */usr/bin/ping: ' key.account
	grep -q ' cleaned  */var/log/dpkg.log: a log$' key.account
	"$mmoci" image verify oci:images:key | tee key.proof
	grep -q "^$arch: proved $("$mmoci" image lock -f key.yaml -o - | grep -c '^package '), generated 0, files 0, by the site's statement alone: system; scripts made otherwise: .*/etc/ssl/private/ssl-cert-snakeoil.key" key.proof
	refused 1 "/etc/ssl/private/ssl-cert-snakeoil.key" "$mmoci" image rebuild oci:images:key
}
check "without --twice every package of it is proved, and the key is named; so are the file capabilities that ping loses" made_otherwise

by_users() {
	want=$(skopeo inspect --raw oci:images:part | sha256sum)
	useradd -m "mmoci-e2e-$$" # with subordinate ids
	chmod 711 "$work"
	cp -r snapshot part.yaml mmoci.yaml site.pub.asc site.asc "/home/mmoci-e2e-$$/"
	sed -i "s,$work,/home/mmoci-e2e-$$," "/home/mmoci-e2e-$$/mmoci.yaml"
	chown -R "mmoci-e2e-$$:" "/home/mmoci-e2e-$$"
	install -m 755 "$mmoci" "/tmp/mmoci-e2e-$$"
	status=0
	setpriv --reuid "mmoci-e2e-$$" --regid "mmoci-e2e-$$" --init-groups env -i PATH="$PATH" HOME="/home/mmoci-e2e-$$" USER="mmoci-e2e-$$" TZ=Asia/Tokyo \
		sh -c "umask 077; cd; exec '/tmp/mmoci-e2e-$$' image build -f part.yaml oci:images:part" || status=$?
	got=$(skopeo inspect --raw "oci:/home/mmoci-e2e-$$/images:part" | sha256sum)
	rm -f "/tmp/mmoci-e2e-$$"
	userdel -r "mmoci-e2e-$$" 2>/dev/null
	[ $status = 0 ]
	same "digest" "$want" "$got"
}
check "an ordinary user with subordinate ids, another zone and umask makes the same image" by_users

killed() {
	mkdir -p killed.tmp
	chmod 711 killed.tmp
	for after in 1 3 6; do
		TMPDIR=$work/killed.tmp XDG_STATE_HOME=$work/killed.state "$mmoci" image build --no-cache -f part.yaml oci:killed:part >/dev/null 2>&1 &
		pid=$!
		sleep $after
		kill -9 $pid
		wait $pid 2>/dev/null || :
		sleep 1
		not grep mmoci-scratch- /proc/mounts
		for p in /proc/[0-9]*; do case $(readlink "$p/root") in *mmoci-scratch-*) echo "$p is left"; return 1 ;; esac; done 2>/dev/null
	done
	TMPDIR=$work/killed.tmp "$mmoci" image build --no-cache -f key.yaml oci:killed:key
	same "directories that are left" "" "$(find killed.tmp -mindepth 1 -name 'mmoci-scratch-*')"
}
check "killed at three points it leaves no mount and no process, and the next run removes its directory" killed

contained() { go test -C "$E2E_TOP" -tags real -count=1 ./internal/rootfs/run ./internal/rootfs/sharedlib; }
check "hostile programs see nothing of the machine, reach nothing of it, and end with their root" contained
