# 92-image-scripts.sh: maintainer scripts run by dpkg in a root of their own; what they make against mmdebstrap's trees of the
# same packages, ldconfig, openssl; apt-get install in the image, from a server of the same snapshot; what is not reproducible, an
# ordinary user, kills. E2E_LONG=1: postgresql-15, docker.io and openjdk-17-jre-headless, too.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/images.sh"
. "$E2E_TOP/scripts/e2e/image-trees.sh"
image_snapshot
served

real="nginx-light redis-server libblas3 ca-certificates python3"
# shellcheck disable=SC2086 # names
{
	image whole yes apt $real
	image large yes postgresql-15 docker.io openjdk-17-jre-headless
	image part no $real
}
check "five packages with Essential and apt: mmdebstrap's tree but for the kinds that SPEC names" against_mmdebstrap whole
tail -n 1 check.log | sed 's/^/     of another kind: /'
large() {
	against_mmdebstrap large
	root=large/rootfs
	grep -q '^docker:' $root/etc/group
	inside $root /usr/lib/jvm/java-17-openjdk-*/bin/java -version
	chroot $root /usr/lib/postgresql/15/bin/postgres --version
	chroot $root docker --version
}
if [ -n "${E2E_LONG:-}" ]; then
	check "postgresql-15, docker.io and openjdk-17-jre-headless: mmdebstrap's tree, and they start" large
	tail -n 4 check.log | sed 's/^/     /'
	rm -rf large large.theirs
fi

# A diversion ends as dpkg leaves it: dash's over sh.
diverted() {
	grep -x /bin/sh whole/rootfs/var/lib/dpkg/diversions
	same "sh" dash "$(readlink whole/rootfs/usr/bin/sh)"
	cmp whole/rootfs/var/lib/dpkg/diversions whole.theirs/var/lib/dpkg/diversions
}
check "the diversion of sh by dash ends as dpkg leaves it" diverted

# dpkg reads its database and writes it back the same, byte for byte.
rewritten() {
	for i in whole part; do
		cp $i/rootfs/var/lib/dpkg/status status.before
		cp -a $i/rootfs/var/lib/dpkg $i.dpkg
		echo "libc6 hold" | dpkg --admindir="$work/$i.dpkg" --set-selections
		not cmp $i.dpkg/status status.before
		echo "libc6 install" | dpkg --admindir="$work/$i.dpkg" --set-selections
		cmp $i.dpkg/status status.before
		rm -rf $i.dpkg
	done
}

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
check "dpkg writes the database of both back as it is, byte for byte" rewritten

# FROM the image, RUN apt-get install: by chroot, from the server of the snapshot.
installs() {
	cp -a whole/rootfs from
	rm -f from/etc/apt/sources.list
	sed "s,\[trusted=yes\],[signed-by=/site.asc]," sources.list >from/etc/apt/sources.list
	cp "$shared/images-site.pub.asc" from/site.asc
	root=from
	mkdir -p $root/dev $root/tmp
	[ -e $root/dev/null ] || mknod -m 666 $root/dev/null c 1 3
	in_root apt-get -q -o APT::Sandbox::User=root update 2>&1 | tee update.err
	updated update.err
	in_root apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends install curl </dev/null >install.log 2>&1 || { tail -n 20 install.log; return 1; }
	grep '^Setting up curl ' install.log
	not grep -i 'warning\|files list file\|missing' install.log
	in_root curl --version | grep '^curl '
	healthy
}
check "in the image with Essential, apt-get install curl from the mirror, without a warning of dpkg" installs
rm -rf from

scripts_did() {
	root=part/rootfs
	chroot $root /usr/bin/python3 -c 'import ctypes; ctypes.CDLL("libblas.so.3").dgemm_'
	grep -q '^redis:' $root/etc/passwd
	same "redis' directory" "$(sed -n 's/^redis:x:\([0-9]*\):.*/\1/p' $root/etc/passwd)" "$(stat -c %u $root/var/lib/redis)"
	[ -L $root/etc/nginx/sites-enabled/default ]
	cp -a $root linked
	rm -f linked/etc/ld.so.cache
	/sbin/ldconfig -r linked
	cmp linked/etc/ld.so.cache $root/etc/ld.so.cache
	/sbin/ldconfig -p -C $root/etc/ld.so.cache | grep -q 'libc.so.6 '
	mkdir -p whole/rootfs/dev
	[ -e whole/rootfs/dev/null ] || mknod -m 666 whole/rootfs/dev/null c 1 3
	same "find_library" libc.so.6 "$(chroot whole/rootfs python3 -c 'import ctypes.util; print(ctypes.util.find_library("c"))')"
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

# A root that has the users of base-passwd alone.
users() {
	image bare yes passwd
	against_mmdebstrap bare
	MMOCI_ROOTS="$arch=$work/bare.theirs" SOURCE_DATE_EPOCH=$(epoch bare.lock) go test -C "$E2E_TOP" -tags real -count=1 -run TestUsersOfRoots ./internal/rootfs/fixup
	rm -rf bare bare.theirs
}
[ -z "${E2E_LONG:-}" ] || check "so are the lists of users" users

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
	cp part.yaml "$shared/images-site.asc" "$shared/images-site.pub.asc" "/home/mmoci-e2e-$$/"
	sed "/^sign:\|^trust:/s,$shared,/home/mmoci-e2e-$$," mmoci.yaml >"/home/mmoci-e2e-$$/mmoci.yaml"
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
	for after in $(python3 -c 'import random, sys; r = random.Random(sys.argv[1]); print(*(f"{r.uniform(0.5, 8):.2f}" for _ in range(3)))' "$seed"); do
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
