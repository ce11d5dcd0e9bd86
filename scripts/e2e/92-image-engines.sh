# 92-image-engines.sh: engines run images that mmoci builds: docker, podman; nginx answers 200, redis PONG. An image of 130
# packages in 100 layers, run by docker, podman, runc and crun; one package more changes one bin and the system layer.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/images.sh"
image_snapshot

mkdir -p nginx redis
cat >nginx/image.yaml <<END
name: nginx
arch: $arch
scripts: none
layers: {max: 12}
packages: [nginx-light]
sync: [{src: ./nginx.conf, dest: /etc/nginx/nginx.conf}, {src: ./index.html, dest: /srv/www/}]
config: {entrypoint: [/usr/sbin/nginx, -g, "daemon off;"], user: "0:0"}
END
cat >nginx/nginx.conf <<'END'
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
echo "made of packages" >nginx/index.html
cat >redis/image.yaml <<END
name: redis
arch: $arch
scripts: none
layers: {max: 12}
packages: [redis-server]
config: {entrypoint: [/usr/bin/redis-server], user: "0:0", volumes: [/data], workdir: /data}
END

# many COUNT NAME: an image of so many packages, in at most 100 layers.
many() {
	printf 'name: %s\narch: %s\nscripts: none\npackages: [%s]\nconfig: {entrypoint: [/bin/busybox, echo, hello]}\n' "$2" "$arch" \
		"$({ echo busybox-static && head -n $(($1 - 1)) "$shared/images-small"; } | paste -sd, | sed 's/,/, /g')" >"$2.yaml"
	"$mmoci" image build -f "$2.yaml" "oci:images:$2"
	"$mmoci" image lock -f "$2.yaml" -o "$2.lock"
	same "packages" "$1" "$(grep -c '^package ' "$2.lock")"
	_digest=$(skopeo inspect --raw "oci:images:$2" | jq -r '.manifests[0].digest' | cut -d: -f2)
	jq -r '.layers[].digest' images/blobs/sha256/"$_digest" | sort >"$2.layers"
}
capped() {
	many 130 many
	many 131 more
	same "layers" 100 "$(wc -l <many.layers)"
	[ "$(wc -l <more.layers)" -le 100 ]
	comm -23 more.layers many.layers | tee changed
	same "layers that changed" 2 "$(wc -l <changed)"
	# One has the new package and what shares its bin, the other is the system layer.
	while read -r d; do zcat "images/blobs/sha256/${d#*:}" | tar -t; done <changed >named
	grep -q "^var/lib/dpkg/info/$(tail -n 1 "$shared/images-small")[.:]" named
	grep -q '^var/lib/dpkg/info/format$' named
}
check "130 packages in 100 layers; one small package more changes one bin and the system layer" capped

# A host of its own without a network but loopback; cgroups of version 2 are not mounted beside those of 1, for crun.
start holder unshare -n -m -p -f --kill-child sh -eu -c '
	mount --make-rprivate /
	ip link set lo up
	mount -t proc proc /proc
	mount -t tmpfs tmpfs /run
	! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
	: >"$1"
	while sleep 1; do :; done' holder "$work/held"
eventually test -e held
holder=$(cat "/proc/$pid/task/$pid/children")
holder=${holder% }
host() { nsenter -t "$holder" -m -n -p "$@"; }

# by RUN..: nginx and redis under an engine, and the image of 100 layers.
# shellcheck disable=SC2086 # flags
by() {
	host "$@" -d --name web registry.example.org/site/nginx:1
	eventually host curl -sf http://127.0.0.1:8080/
	same "GET /" "200 made of packages" "$(host curl -s -o "$work/page" -w '%{http_code} ' http://127.0.0.1:8080/)$(cat "$work/page")"
	host "$@" -d --name store registry.example.org/site/redis:1
	eventually host "$1" $engine_flags exec store redis-cli ping
	same "redis" PONG "$(host "$1" $engine_flags exec store redis-cli ping)"
	same "the image of 100 layers" hello "$(host "$@" --rm registry.example.org/site/many:1)"
	host "$1" $engine_flags rm -f web store
}

docker_runs() {
	host setsid dockerd --data-root "$work/docker" --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs >dockerd.log 2>&1 &
	eventually host docker version
	engine_flags=
	for i in nginx redis many; do
		skopeo --insecure-policy copy -q "oci:images:$i" "docker-archive:$i.tar:registry.example.org/site/$i:1"
		host docker load -q -i "$work/$i.tar"
	done
	by docker run --network host
	host sh -c 'kill $(cat /run/docker.pid)'
}
podman_runs() {
	engine_flags="--root $work/podman --runroot /run/podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend file --runtime crun"
	for i in nginx redis many; do
		# shellcheck disable=SC2086 # flags
		host podman $engine_flags load -q -i "$work/$i.tar"
	done
	# shellcheck disable=SC2086 # flags
	by podman $engine_flags run --network host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024
}
bundles_run() {
	umoci unpack --image images:many many.bundle
	jq '.process.terminal = false | del(.linux.resources, .linux.cgroupsPath) | .mounts |= map(select(.type != "cgroup"))' many.bundle/config.json >c.json
	mv c.json many.bundle/config.json
	for r in runc crun_here; do
		same "$r" hello "$($r run -b many.bundle "e2e-many-$$")"
	done
}
for i in nginx redis; do
	check "$i is built" "$mmoci" image build -f $i "oci:images:$i"
done
check "docker: nginx answers 200, redis PONG, and an image of 100 layers starts" docker_runs
rm -rf docker
check "podman: the same" podman_runs
check "runc and crun: the image of 100 layers starts" bundles_run
