# 91-image-build.sh: images of real packages from a real snapshot, read and run by programs of other hands. E2E_LONG=1: of
# python3, postgresql-15, openjdk-17-jre-headless and docker.io, too.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/images.sh"
image_snapshot

mkdir -p redis nginx/files
cat >redis/image.yaml <<'END'
name: redis
version: "7"
arch: amd64
packages: [redis-server]
scripts: none
config: {entrypoint: [/usr/bin/redis-server], command: [--protected-mode, "no"], user: "0:0", expose: [6379], stop-signal: SIGTERM}
END
cat >nginx/container.yaml <<'END'
- vars: {name: nginx-production, version: "1", os: linux, arch: amd64, author: Site}
- package: nginx-light
- sync: {src: ./files/nginx.conf, dest: /etc/nginx/nginx.conf, recursive: True, chmod: 0644}
- sync: {src: ./files/index.html, dest: /srv/www/}
- image:
    type: aci
    content: |
      {
        "acKind": "ImageManifest", "acVersion": "0.6.1", "name": "{{ name }}-{{ version }}",
        "labels": [ {"name": "os", "value": "{{ os }}"}, {"name": "arch", "value": "{{ arch }}"} ],
        "app": { "exec": [ "/usr/sbin/nginx", "-g", "daemon off;" ], "user": "0", "group": "0" }
      }
END
cat >nginx/files/nginx.conf <<'END'
user root;
error_log /error.log;
pid /nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path /tmp-body; proxy_temp_path /tmp-proxy; fastcgi_temp_path /tmp-fcgi; uwsgi_temp_path /tmp-uwsgi; scgi_temp_path /tmp-scgi;
	server { listen 127.0.0.1:8080; root /srv/www; }
}
END
echo "made of packages" >nginx/files/index.html
for i in redis nginx; do sed -i "s/amd64/$arch/" $i/*.yaml; done

# bundle_of LAYOUT:TAG DIR: unpacked by umoci, to be run without cgroups of its own and without a terminal.
bundle_of() {
	rm -rf "$2"
	umoci unpack --image "$1" "$2"
	jq '.process.terminal = false | del(.linux.resources, .linux.cgroupsPath) | .root.readonly = false | .mounts |= map(select(.type != "cgroup"))' "$2/config.json" >"$2/config.new"
	mv "$2/config.new" "$2/config.json"
}

# taken_by_all LAYOUT TAG: oci-image-tool finds nothing wrong in it, and skopeo makes a docker-archive of it. (The tool knows no
# image index below that of a layout, so it gets the one manifest.)
taken_by_all() {
	rm -rf one.layout "$2.tar"
	skopeo --insecure-policy copy -q --override-arch "$arch" "oci:$1:$2" oci:one.layout:one
	oci-image-tool validate --type image --ref name=one one.layout 2>&1 | tee tool.log
	grep -q 'Validation succeeded' tool.log
	skopeo --insecure-policy copy -q "oci:$1:$2" "docker-archive:$2.tar:site/$2:1"
}

built() {
	"$mmoci" image build -f redis oci:images:redis | tee redis.ref
	"$mmoci" image build --scripts none -f nginx oci:images:nginx | tee nginx.ref
	grep -q '^oci:images:redis@sha256:' redis.ref
	bundle_of images:redis redis.bundle
	bundle_of images:nginx nginx.bundle
	for i in redis nginx; do
		taken_by_all images $i
		skopeo inspect --raw "oci:images:$i" | jq -e '.mediaType == "application/vnd.oci.image.index.v1+json" and (.manifests | length) == 1'
	done
}
check "an image.yaml and a container.yaml are built; umoci, skopeo and oci-image-tool take them" built

on_registry() {
	registry_start registry registry "$work/storage"
	"$mmoci" image build -f redis "$registry/site/redis:7" 2>first.err
	"$mmoci" image build --scripts none -f nginx "$registry/site/redis:nginx" 2>second.err
	cat first.err second.err
	for i in redis:7 redis:nginx; do
		crane validate --remote "$registry/site/$i"
		skopeo --insecure-policy copy -q --dest-tls-verify=false --src-tls-verify=false "docker://$registry/site/$i" "docker://$registry/copied/$i"
	done
	same "digest" "$(sed 's/.*@//' redis.ref)" "$(crane digest "$registry/site/redis:7")"
	"$mmoci" image build -f redis "$registry/site/redis:7" 2>third.err
	grep -q 'as it was, 0 bytes of blobs written' third.err
	# What both images have was sent once.
	crane manifest --platform "linux/$arch" "$registry/site/redis:7" | jq -r '.layers[].digest' | sort >redis.layers
	crane manifest --platform "linux/$arch" "$registry/site/redis:nginx" | jq -r '.layers[].digest' | sort >nginx.layers
	[ "$(comm -12 redis.layers nginx.layers | wc -l)" -ge 5 ]
	"$mmoci" image build -f redis oci-archive:redis.oci:7
	same "digest" "$(sed 's/.*@//' redis.ref)" "$(skopeo inspect --raw oci-archive:redis.oci:7 | sha256sum | sed 's/ .*//; s/^/sha256:/')"
}
check "registry, layout and oci-archive have one digest; packages of two images are sent once, known images not at all" on_registry

database() {
	for i in redis nginx; do
		root=$i.bundle/rootfs
		"$mmoci" image lock --scripts none -f $i -o $i.lock
		sed -n 's/^package \([^ ]*\) \([^ ]*\) \([^ ]*\) .*/\1 \2 \3/p' $i.lock | LC_ALL=C sort >want
		dpkg-query --admindir=$root/var/lib/dpkg -W -f '${Package} ${Version} ${Architecture}\n' | LC_ALL=C sort >got
		diff want got
		same "dpkg --audit of $i" "" "$(dpkg --root=$root --audit)"
		dpkg --root=$root --verify | sed 's/.* //' | sort >changed
		if [ $i = nginx ]; then echo /etc/nginx/nginx.conf; fi | diff - changed
		debsums -r "$work/$root" -s -a >sums.log 2>&1 || [ $i = nginx ]
		cat sums.log
		if [ $i = nginx ]; then grep -c nginx.conf sums.log; else echo 0; fi >counted
		same "lines of debsums" "$(cat counted)" "$(wc -l <sums.log)"
	done
}
check "dpkg finds what the lock names, nothing to audit; it and debsums see no file changed but those of sync:" database

# manifest TAG: the file of its one manifest; layers_of TAG: their digests, from below.
manifest() { echo "images/blobs/sha256/$(skopeo inspect --raw "oci:images:$1" | jq -r '.manifests[0].digest' | cut -d: -f2)"; }
layers_of() { jq -r '.layers[].digest' "$(manifest "$1")" | cut -d: -f2; }

merged() {
	for i in redis nginx; do
		same "lib of $i" usr/lib "$(readlink $i.bundle/rootfs/lib)"
		[ -d $i.bundle/rootfs/usr ] && [ ! -L $i.bundle/rootfs/usr ]
		layers_of $i | while read -r l; do
			tar tzf images/blobs/sha256/"$l" | sed -n 's,^\(\./\)*\(bin\|sbin\|lib[^/]*\)\(/.*\)*$,\2\3,p'
		done | LC_ALL=C sort >top
		printf '%s\n' bin lib lib32 lib64 libx32 sbin | diff - top
	done
}
check "a merged /usr: no layer has an entry in bin, sbin or lib but the skeleton" merged

linker() {
	for i in redis nginx; do
		root=$i.bundle/rootfs
		ldconfig -p -C $root/etc/ld.so.cache >listed
		cp -a $root again.root
		rm again.root/etc/ld.so.cache
		ldconfig -r again.root -X
		cmp again.root/etc/ld.so.cache $root/etc/ld.so.cache
		rm -rf again.root
		grep -q 'libc.so.6 ' listed
	done
}
check "the dynamic linker's cache is the one that ldconfig makes" linker

# What sync: names, and nothing else, is in the last layer.
synced() {
	mkdir -p tree/files/d
	echo one >tree/files/d/one
	echo two >tree/files/d/two
	printf 'name: tree\narch: %s\nscripts: none\npackages: [base-files]\nusers: [{name: web, uid: 10001}]\nsync:\n- {src: ./files, dest: /srv, recursive: true, owner: web:web}\n- {src: ./files/d/one, dest: /srv/key, mode: "4750", owner: "0:42"}\n' "$arch" >tree/image.yaml
	"$mmoci" image build -f tree oci:images:tree
	tar -tvzf images/blobs/sha256/"$(layers_of tree | tail -n 1)" --full-time --numeric-owner | awk '{ print $1, $2, $4, $5, $6 }' | grep -v ' srv/\{0,1\}$' >got
	when=$(jq -r .created images/blobs/sha256/"$(jq -r .config.digest "$(manifest tree)" | cut -d: -f2)" | sed 's/T/ /; s/Z//')
	cat >want <<-END
		drwxr-xr-x 10001/10001 $when srv/d/
		-rw-r--r-- 10001/10001 $when srv/d/one
		-rw-r--r-- 10001/10001 $when srv/d/two
		-rwsr-x--- 0/42 $when srv/key
	END
	diff want got
	ln -s ../../../redis/image.yaml tree/files/d/out
	refused 2 "files/d/out is a symbolic link" "$mmoci" image build -f tree oci:never:x
	[ ! -e never ]
}
check "the last layer has the files of sync:, with mode, owner and the snapshot's date, and nothing else; a symlink out of src is refused" synced

redis_runs() {
	jq '.process.args = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/run.sock"]' redis.bundle/config.json >c.json
	mv c.json redis.bundle/config.json
	start redis-run runc run -b redis.bundle "e2e-redis-$$"
	eventually test -S redis.bundle/rootfs/run.sock
	same "SET" OK "$(runc exec "e2e-redis-$$" /usr/bin/redis-cli -s /run.sock set a b)"
	same "GET" b "$(runc exec "e2e-redis-$$" /usr/bin/redis-cli -s /run.sock get a)"
	runc kill "e2e-redis-$$" KILL
}
check "redis-server of the image answers under runc" redis_runs

nginx_runs() {
	jq -e '.process.args == ["/usr/sbin/nginx", "-g", "daemon off;"]' nginx.bundle/config.json
	jq '.linux.namespaces |= map(select(.type != "network"))' nginx.bundle/config.json >c.json
	mv c.json nginx.bundle/config.json
	sed -i "s/127.0.0.1:8080/127.0.0.1:$(free_port)/" nginx.bundle/rootfs/etc/nginx/nginx.conf
	www=$(sed -n 's/.*listen \([0-9.:]*\);.*/\1/p' nginx.bundle/rootfs/etc/nginx/nginx.conf)
	chroot nginx.bundle/rootfs /usr/sbin/nginx -t
	for r in runc crun_here; do
		start nginx-run $r run -b nginx.bundle "e2e-nginx-$$"
		eventually curl -sf "http://$www/"
		same "GET / under $r" "made of packages" "$(curl -sf "http://$www/")"
		$r kill "e2e-nginx-$$" KILL
		wait "$pid" || :
		$r delete -f "e2e-nginx-$$" || :
	done
}
check "nginx -t is content, and nginx of the image, with the site's configuration, answers 200 under runc and crun" nginx_runs

# Real packages: built, taken by the programs of others, started.
started() { # PACKAGE COMMAND..
	p=$1
	shift
	printf 'name: %s\narch: %s\nscripts: none\npackages: [%s]\n' "$p" "$arch" "$p" >"$p.yaml"
	"$mmoci" image build -f "$p.yaml" "oci:images:$p"
	taken_by_all images "$p"
	rm -rf one.bundle
	umoci unpack --image "images:$p" one.bundle
	inside one.bundle/rootfs "$@"
	rm -rf one.bundle one.layout "$p.tar"
}
starts() { check "$1: built without scripts, taken by oci-image-tool, umoci and skopeo, and it starts" started "$@"; }
starts python3 python3 -c 'import ssl, sqlite3, json; print(ssl.OPENSSL_VERSION)'
starts curl curl --version
if [ -n "${E2E_LONG:-}" ]; then
	starts postgresql-15 /usr/lib/postgresql/15/bin/postgres --version
	starts openjdk-17-jre-headless "/usr/lib/jvm/java-17-openjdk-$arch/bin/java" -version
	starts docker.io docker --version
fi

everywhere() {
	want=$(sed 's/.*@//' redis.ref)
	i=0
	for how in "env TZ=Asia/Tokyo LC_ALL=C GOMAXPROCS=1" "env GOMAXPROCS=8 setpriv --reuid 4242 --clear-groups"; do
		i=$((i + 1))
		mkdir "other.$i" "state.$i"
		cp -r redis "other.$i/plan"
		[ $i = 1 ] || chown -R 4242 "other.$i" "state.$i"
		install -m 644 "$shared/images-site.asc" "other.$i/site.asc"
		sed "s,$shared/images-site.asc,$work/other.$i/site.asc," mmoci.yaml >"other.$i/mmoci.yaml"
		cp "$mmoci" "other.$i/mmoci"
		(
			umask 077
			cd "other.$i"
			XDG_STATE_HOME=$work/state.$i
			export XDG_STATE_HOME
			unshare -u sh -c 'hostname other.example.org; exec "$@"' sh $how ./mmoci image build -f plan oci:images:redis
		) >again.ref
		same "digest under $how" "$want" "$(sed 's/.*@//' again.ref)"
	done
	same "without notes" "$want" "$("$mmoci" image build --no-cache -f redis oci:nobody:redis | sed 's/.*@//')"
}
check "another zone, umask, host name, user, number of processors, with notes and without: one digest" everywhere

proved() {
	"$mmoci" image verify oci:images:redis | tee proof
	grep -q "^$arch: proved $(grep -c '^package ' redis.lock), generated 1, files 0$" proof
	"$mmoci" image verify oci:images:nginx | grep -q 'generated 1, files 1$'
	same "rebuilt" "same digest: $(cat nginx.ref)" "$("$mmoci" image rebuild oci:images:nginx)"
	# With upstream's key alone, from a copy: packages are proved without the site.
	"$mmoci" copy oci:images:redis oci:copied:redis
	mkdir -p alone
	(cd alone && "$mmoci" image verify --insecure-unsigned --from "$(sed -n 's/^ref: //p' ../mmoci.yaml)" $(sed -n "s,^- prefix: ,,p" "$up/mmoci.yaml" | while read -r p; do echo "--keyring $p=$(ls "$up"/keyring-"$p".*)"; done) oci:../copied:redis) >alone.proof
	same "proved without the site" "$(sed -n "s/^\($arch: [^,]*\),.*/\1, not proved: system, plan, config/p" proof)" "$(cat alone.proof)"
	# A byte of a layer: the largest is a package's.
	victim=$(ls -S copied/blobs/sha256/* | head -1)
	chmod u+w "$victim"
	damage "$victim" 5000
	refused 3 "layer of package" "$mmoci" image verify oci:copied:redis
}
check "every package of the images is proved down to upstream's key, rebuilt they are the same; a flipped byte is told with its package" proved

accounted() {
	"$mmoci" image scripts oci:images:redis >scripts
	for d in redis.bundle/rootfs/var/lib/dpkg/info/*.postinst; do
		p=$(basename "$d" .postinst)
		grep -q "^${p%%:*} .* postinst  *\(no-op\|not-run\)" scripts || { echo "no line for $d"; return 1; }
	done
}
check "each script of each package has a line in the account" accounted

configured() {
	"$mmoci" image build --scripts run -f redis oci:images:run 2>run.err
	cat run.err
	bundle_of images:run run.bundle
	same "dpkg --verify" "" "$(dpkg --root=run.bundle/rootfs --verify)"
	same "dpkg --audit" "" "$(dpkg --root=run.bundle/rootfs --audit)"
	grep -q '^redis:' run.bundle/rootfs/etc/passwd
	"$mmoci" image scripts oci:images:run >scripts.run
	grep -q '^redis-server  *[^ ]*  *postinst  *ran' scripts.run
	not grep -q ' not-run ' scripts.run
}
check "with their scripts run, the packages are configured as dpkg wants it" configured

# What scripts made, with files of one's own above it: made now, taken from what an earlier build keeps, and made again by verifiers.
kept() {
	want=$("$mmoci" image build --scripts run -f nginx oci:images:first | sed 's/.*@//')
	same "digest of the second build" "$want" "$("$mmoci" image build --scripts run -f nginx oci:images:kept | sed 's/.*@//')"
	[ -z "${E2E_LONG:-}" ] || same "rebuilt" "same digest: oci:images:kept@$want" "$("$mmoci" image rebuild oci:images:kept)"
	"$mmoci" image verify oci:images:kept | grep 'generated 1, files 1$'
}
check "what scripts made is kept, and with files above it the second image is the first" kept

followed() {
	"$mmoci" image affected libc6 --below 99 oci:images:redis oci:images:nginx >affected
	same "images with libc6" 2 "$(wc -l <affected)"
	same "images with an older libc6" "" "$("$mmoci" image affected libc6 --below 1 oci:images:redis oci:images:nginx)"
	"$mmoci" image diff oci:images:redis oci:images:nginx >differ
	grep -q "^$arch: - redis-server " differ
	grep -q "^$arch: + nginx-light " differ
	"$mmoci" image update oci:images:redis | diff redis.ref -
	"$mmoci" image sbom oci:images:redis | jq -r '.packages[].externalRefs[].referenceLocator' | grep '^pkg:deb.*arch=\('"$arch"'\|all\)' | wc -l >boms
	same "packages of the bill" "$(grep -c '^package ' redis.lock)" "$(cat boms)"
}
check "images that have a package are found, two are compared, an update of nothing changes nothing, the bill names every package once" followed

refusals() {
	refused 2 "is a Gentoo atom; write nginx (= 1.7.6-..)" "$mmoci" image build -f "$E2E_TOP/internal/config/imageplan/testdata/seed" oci:never:x
	printf 'packages: [redis-server]\narch: %s\nlayers: {max: 121}\n' "$arch" >bad.yaml
	refused 2 "bad.yaml:3: " "$mmoci" image build -f bad.yaml oci:never:x
	printf 'packages: [no-such-package]\narch: %s\n' "$arch" >bad.yaml
	refused 4 "no-such-package" "$mmoci" image build -f bad.yaml oci:never:x
	sed 's/^package redis-server [^ ]* /package redis-server 99-1 /' redis.lock >bad.lock
	refused 4 "redis-server" "$mmoci" image build -f redis --lock bad.lock oci:never:x
	refused 2 "none.lock" "$mmoci" image build -f redis --lock none.lock --locked oci:never:x
	[ ! -e never ]
}
check "what cannot be: one clear line, the right exit code, nothing written" refusals
