# 91-image-build.sh: images of real packages from a real snapshot, read and run by programs of other hands.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

packages="redis-server nginx-light ca-certificates base-passwd base-files"
up=$E2E_CACHE/images-upstream
lists
# shellcheck disable=SC2046,SC2086 # names
"$E2E_TOP/scripts/real-upstream.sh" "$up" $packages $(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p') >&2
"$mmoci" key new -o site.asc >&2
{ printf 'ref: oci:%s/snapshot:all\nsign: {key: site.asc}\ntrust: [site.pub.asc]\n' "$work"; cat "$up/mmoci.yaml"; } >mmoci.yaml
"$mmoci" push >&2

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
error_log /dev/stderr;
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

built() {
	"$mmoci" image build -f redis oci:images:redis | tee redis.ref
	"$mmoci" image build --scripts none -f nginx oci:images:nginx | tee nginx.ref
	grep -q '^oci:images:redis@sha256:' redis.ref
	bundle_of images:redis redis.bundle
	bundle_of images:nginx nginx.bundle
	for i in redis nginx; do
		skopeo inspect --raw "oci:images:$i" | jq -e '.mediaType == "application/vnd.oci.image.index.v1+json" and (.manifests | length) == 1'
		skopeo --insecure-policy copy -q "oci:images:$i" "docker-archive:$i.tar:site/$i:1"
	done
}
check "an image.yaml and a container.yaml are built, and umoci and skopeo take them" built

on_registry() {
	registry_start registry registry "$work/storage"
	"$mmoci" image build -f redis "$registry/site/redis:7" 2>first.err
	"$mmoci" image build --scripts none -f nginx "$registry/site/redis:nginx" 2>second.err
	cat first.err second.err
	crane validate --remote "$registry/site/redis:7"
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
	done
}
check "dpkg finds what the lock names, nothing to audit, and no file changed but those of sync:" database

merged() {
	for i in redis nginx; do
		same "lib of $i" usr/lib "$(readlink $i.bundle/rootfs/lib)"
		[ -d $i.bundle/rootfs/usr ] && [ ! -L $i.bundle/rootfs/usr ]
		digest=$(skopeo inspect --raw oci:images:$i | jq -r '.manifests[0].digest' | cut -d: -f2)
		jq -r '.layers[].digest' images/blobs/sha256/"$digest" | cut -d: -f2 | while read -r l; do
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

redis_runs() {
	jq '.process.args = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/run.sock"]' redis.bundle/config.json >c.json
	mv c.json redis.bundle/config.json
	start redis-run runc run -b redis.bundle "e2e-redis-$$"
	eventually test -S redis.bundle/rootfs/run.sock
	same "SET" OK "$(runc exec "e2e-redis-$$" /usr/bin/redis-cli -s /run.sock set a b)"
	same "GET" b "$(runc exec "e2e-redis-$$" /usr/bin/redis-cli -s /run.sock get a)"
	runc kill "e2e-redis-$$" KILL
}
check "redis-server of the image runs and answers" redis_runs

nginx_runs() {
	jq -e '.process.args == ["/usr/sbin/nginx", "-g", "daemon off;"]' nginx.bundle/config.json
	jq '.linux.namespaces |= map(select(.type != "network"))' nginx.bundle/config.json >c.json
	mv c.json nginx.bundle/config.json
	sed -i "s/127.0.0.1:8080/127.0.0.1:$(free_port)/" nginx.bundle/rootfs/etc/nginx/nginx.conf
	www=$(sed -n 's/.*listen \([0-9.:]*\);.*/\1/p' nginx.bundle/rootfs/etc/nginx/nginx.conf)
	start nginx-run runc run -b nginx.bundle "e2e-nginx-$$"
	eventually curl -sf "http://$www/"
	same "GET /" "made of packages" "$(curl -sf "http://$www/")"
	runc kill "e2e-nginx-$$" KILL
}
check "nginx of the image, with the site's configuration, answers 200" nginx_runs

everywhere() {
	want=$(sed 's/.*@//' redis.ref)
	for how in "env TZ=Asia/Tokyo" "env GOMAXPROCS=1 LC_ALL=C" "faketime 2031-01-01"; do
		(
			umask 077
			cp -r redis "redis.$$"
			XDG_STATE_HOME=$work/state.$$
			export XDG_STATE_HOME
			$how "$mmoci" image build -f "redis.$$" "oci:other.$$:redis"
			rm -rf "redis.$$" "other.$$"
		) >again.ref
		same "digest under $how" "$want" "$(sed 's/.*@//' again.ref)"
	done
	unshare -u sh -c "hostname other.example.org; exec '$mmoci' image build --no-cache -f redis oci:nobody:redis" >again.ref
	same "digest on another host" "$want" "$(sed 's/.*@//' again.ref)"
}
check "another day, zone, umask, host, number of processors, with notes and without: one digest" everywhere

proved() {
	"$mmoci" image verify oci:images:redis | tee proof
	grep -q "^$arch: proved $(grep -c '^package ' redis.lock), generated 1, files 0$" proof
	"$mmoci" image verify oci:images:nginx | grep -q 'generated 1, files 1$'
	same "rebuilt" "same digest: $(cat nginx.ref)" "$("$mmoci" image rebuild oci:images:nginx)"
	# With upstream's key alone, from a copy: packages are proved without the site.
	"$mmoci" copy oci:images:redis oci:copied:redis
	mkdir -p alone
	(cd alone && "$mmoci" image verify --insecure-unsigned --from "oci:$work/snapshot:all" $(sed -n "s,^- prefix: ,,p" "$up/mmoci.yaml" | while read -r p; do echo "--keyring $p=$(ls "$up"/keyring-"$p".*)"; done) oci:../copied:redis) >alone.proof
	same "proved without the site" "$(sed -n "s/^\($arch: [^,]*\),.*/\1, not proved: system, plan, config/p" proof)" "$(cat alone.proof)"
	# A byte of a layer: the largest is a package's.
	victim=$(ls -S copied/blobs/sha256/* | head -1)
	chmod u+w "$victim"
	printf 'x' | dd of="$victim" bs=1 seek=5000 conv=notrunc status=none
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
	"$mmoci" image verify oci:images:run | grep "^$arch: proved [0-9]*, generated 1, files 0$"
}
check "with their scripts run, the packages are configured as dpkg wants it, and made again the same" configured

# What scripts made, with files of one's own above it: made now, taken from what an earlier build keeps, and made again by verifiers.
kept() {
	want=$("$mmoci" image build --scripts run -f nginx oci:images:first | sed 's/.*@//')
	same "digest of the second build" "$want" "$("$mmoci" image build --scripts run -f nginx oci:images:kept | sed 's/.*@//')"
	same "rebuilt" "same digest: oci:images:kept@$want" "$("$mmoci" image rebuild oci:images:kept)"
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
	refused 2 "is a Gentoo atom; write nginx (= VERSION)" "$mmoci" image build -f "$E2E_TOP/internal/config/imageplan/testdata/seed" oci:never:x
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
