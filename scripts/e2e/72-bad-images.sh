# 72-bad-images.sh: container images that are not there, not whole, not honest or not to be had; places that are full or
# refuse them. One clear line, the right exit code, no tag, nothing half written; the same command completes afterwards.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# A good image, of umoci's making, with a hundred kilobytes that do not compress; all others are made of it; beside
# shares no layer with them.
umoci init --layout images
umoci new --image images:good
head -c 100000 /dev/urandom >app
tar -cf layer.tar --owner=0 --group=0 app
umoci raw add-layer --image images:good layer.tar
umoci config --image images:good --config.cmd /app
"$E2E_TOP/scripts/e2e/bad-images.py" forge images
start liar "$E2E_TOP/scripts/e2e/bad-images.py" serve images
eventually grep -q : liar.log
liar=$(cat liar.log)
registry_start v3 registry "$work/storage"
nobody=127.0.0.1:$(free_port)

"$mmoci" key new -o site.asc >&2
"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 1 20 2000
# wants IMAGE [MORE]: mmoci.yaml with it, and a good one beside.
wants() {
	cat >mmoci.yaml <<-YAML
		sign: {key: $work/site.asc}
		trust: [$work/site.pub.asc]
		archives: [{prefix: own, mode: curated, debs: $work/debs}]
		images:
		- {image: "oci:$work/images:beside", as: "registry.example.org/beside:1"}
		- {image: "$1", as: "registry.example.org/app:1"${2:+, $2}}
	YAML
}
date=2026-01-01
push() { "$mmoci" push -q -f mmoci.yaml --date $date "$@"; }

# whole PLACE..: every blob in it has the bytes that its name says, and there is nothing temporary.
whole() {
	for _place; do
		[ -e "$_place" ] || continue
		find "$_place" -type f \( -path '*/blobs/sha256/*/data' -o -path '*/blobs/sha256/*' ! -name link \) |
			awk '{ n = $0; sub(/\/data$/, "", n); sub(/.*\//, "", n); print n "  " $0 }' >sums
		[ ! -s sums ] || sha256sum --quiet -c sums
		same "temporary files" "" "$(find "$_place" -name '.mmoci-tmp*' -o -name '*.tmp' -o -name '*.part')"
	done
}
tags() { curl -sf "http://$registry/v2/site/mirror/tags/list" | jq -r '.tags[]?' | sort; }
names() { jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' layout/index.json | sort; }
one_line() {
	same "error lines" 1 "$(grep -c '^mmoci: ' refused.err)"
	not grep -E 'goroutine|panic|0x[0-9a-f]{6}' refused.err
}

# What the tags name before: a snapshot with two good images.
wants "oci:$work/images:two"
push oci:layout:noble >before.layout
push "$registry/site/mirror:noble" >before.registry
date=2026-01-02
tags >tags.before
names >names.before
check "before: an image of two platforms stays one" sh -ec '
	skopeo inspect --raw --tls-verify=false "docker://$1/site/mirror/images/app:1" | jq -e "[.manifests[].platform.architecture] == [\"amd64\", \"arm64\"]"
	skopeo inspect --raw oci:layout:app:1 | jq -e ".manifests | length == 2"' - "$registry"

# bad CODE TEXT IMAGE [MORE]: refused with a line that says TEXT, to both places, which stay as they are; a layout that
# was not there holds nothing either.
bad() {
	_bad_code=$1 _bad_text=$2
	shift 2
	wants "$@"
	for place in oci:layout:noble "$registry/site/mirror:noble" oci:fresh:noble oci-archive:fresh.tar; do
		refused "$_bad_code" "$_bad_text" push "$place"
		one_line
		grep -F 'registry.example.org/app:1' refused.err
	done
	tags | cmp - tags.before
	names | cmp - names.before
	whole layout storage fresh
	not ls fresh.tar
	same "tags of the new layout" "" "$(jq -r '.manifests[]?.digest' fresh/index.json 2>/dev/null || :)"
	rm -rf fresh
	# and a lock does not name it
	[ -n "${locks:-}" ] || { refused "$_bad_code" "$_bad_text" "$mmoci" lock -q -f mmoci.yaml --date $date -o bad.lock && not ls bad.lock; }
}
later() { locks=no bad "$@"; } # what only its bytes betray, a lock does not read

check "not there: a tag of a layout" bad 4 "not found" "oci:$work/images:none"
check "not there: a layout" bad 4 "not found" "oci:$work/nowhere:good"
check "not there: a tag of a registry" bad 4 "the registry has no repository site/app" "$registry/site/app:1"
check "not there: a digest of a registry" bad 4 "site/app has no sha256:7777" "$registry/site/app@sha256:$(printf '7%.0s' $(seq 64))"
check "not there: a registry" bad 1 "connection refused" "$nobody/app:1"
check "not there: a layer in a layout" later 4 "not found" "oci:$work/images:lost"
check "not there: a layer at a registry" later 4 "not found" "$liar/plain:lost"
check "a platform that it lacks" bad 4 "platform linux/s390x not found; the image has linux/amd64, linux/arm64" "oci:$work/images:two" "platforms: [linux/s390x]"
for where in layout registry; do
	from=oci:$work/images
	[ $where = layout ] || from=$liar/plain
	check "$where: a foreign layer with urls" bad 1 "foreign layer" "$from:urls"
	check "$where: a manifest of schema 1" bad 1 "schema 1" "$from:schema1"
	check "$where: an index of 200 platforms" bad 1 "200 manifests" "$from:platforms"
	check "$where: an index in an index in an index" bad 1 "deep" "$from:cycle"
	check "$where: a manifest and an index at once" bad 3 "manifests and layers" "$from:both"
	check "$where: a key twice" bad 3 "twice" "$from:twice"
	check "$where: a page in place of a manifest" bad 3 "no JSON" "$from:html"
	check "$where: a layer that lies about its digest" later 3 "sha256:" "$from:digest"
	check "$where: a layer that has fewer bytes than it says" later 3 "bytes" "$from:longer"
	check "$where: a layer that has more bytes than it says" later 3 "bytes" "$from:shorter"
	check "$where: a layer of 2^60 bytes" bad 3 "bytes" "$from:huge"
	check "$where: a layer of -1 bytes" bad 3 "bytes" "$from:negative"
done
check "a registry that serves other bytes of a layer" later 3 "sha256:" "$liar/flipped:alone"
check "a registry that serves a byte less" later 3 "bytes" "$liar/short:alone"
check "a registry that serves a byte more" later 3 "bytes" "$liar/long:alone"
check "a registry that serves other bytes of a manifest" bad 3 "sha256:" "$liar/other:two"
check "a registry that refuses" bad 1 "403" "$liar/denied:good"
check "a registry that wants to know who asks" bad 1 "docker login" "$liar/login:good"
check "a page in place of a registry" bad 3 "answered with" "$liar/page:good"

# --- of 200 platforms one is taken; the good ones go through

one_of_many() {
	wants "$liar/plain:platforms" "platforms: [linux/amd64]"
	push "$registry/site/cut:noble"
	skopeo inspect --raw --tls-verify=false "docker://$registry/site/cut/images/app:1" >one.json
	jq -e '[.manifests[].platform.architecture] == ["amd64"]' one.json
	crane validate --insecure --remote "$registry/site/cut/images/app:1"
	"$mmoci" lock -q -f mmoci.yaml --date $date -o one.lock
	grep "^image registry.example.org/app:1 sha256:$(sha256sum <one.json | cut -d' ' -f1) " one.lock
}
check "of an index of 200 platforms one is taken, under an index of its own that the lock names" one_of_many
completes() {
	wants "$liar/plain:good"
	push oci:layout:noble
	push "$registry/site/mirror:noble"
	"$mmoci" verify -q oci:layout:noble --keyring site.pub.asc
	"$mmoci" verify -q "$registry/site/mirror:noble" --keyring site.pub.asc
	crane validate --insecure --remote "$registry/site/mirror/images/app:1"
	whole layout storage
}
check "once the image is good, the same command completes in both places" completes

# --- a place that refuses images

cat >front.conf <<-EOF
	daemon off; user root; worker_processes 1; pid $work/front.pid; error_log $work/front.error;
	events { worker_connections 64; }
	http {
	  access_log off; client_max_body_size 0;
	  client_body_temp_path $work/front.body; proxy_temp_path $work/front.proxy; fastcgi_temp_path $work/front.f;
	  uwsgi_temp_path $work/front.u; scgi_temp_path $work/front.s;
	  server {
	    listen 127.0.0.1:$(free_port | tee front.port);
	    location / { proxy_pass http://$registry; proxy_set_header Host \$http_host; }
	    location ~ ^/v2/closed/mirror/images/ { limit_except GET HEAD { deny all; } proxy_pass http://$registry; proxy_set_header Host \$http_host; }
	  }
	}
EOF
start front nginx -e "$work/front.error" -c "$work/front.conf"
front=127.0.0.1:$(cat front.port)
eventually curl -sf "http://$front/v2/"
closed() {
	wants "oci:$work/images:two"
	refused 1 "closed/mirror/images/" push "$front/closed/mirror:noble"
	one_line
	not crane manifest --insecure "$registry/closed/mirror:noble"
	same "tags" "" "$(curl -s "http://$registry/v2/closed/mirror/tags/list" | jq -r '.tags[]?')"
	echo "images-to: $front/open/images" >>mmoci.yaml
	push "$front/closed/mirror:noble"
	crane validate --insecure --remote "$registry/open/images/app:1"
	"$mmoci" verify -q "$registry/closed/mirror:noble" --keyring site.pub.asc
}
check "a registry that refuses the images' repositories: nothing is tagged; below another it takes them" closed

# --- full disks

head -c 6000000 /dev/urandom >app
tar -cf big.tar --owner=0 --group=0 app
umoci raw add-layer --image images:good --tag big big.tar
small=$work/small
mkdir small
mount -t tmpfs -o size=4M tmpfs "$small"
echo "$small" >>mounts
wants "oci:$work/images:big"
push "$registry/site/big:noble" >big.ref

# full COMMAND..: there is no room for the image; with more room the same command completes.
full() {
	rm -rf "${small:?}"/*
	mount -o remount,size=4M "$small"
	wants "oci:$work/images:big"
	refused 1 "no space left on device" "$@"
	one_line
	whole "$small"
	not "$mmoci" verify -q "$at" --keyring site.pub.asc
	same "temporary files" "" "$(find "$small" -name '*tmp*')"
	mount -o remount,size=64M "$small"
	"$@"
	"$mmoci" verify -q "$at" --keyring site.pub.asc
	whole "$small"
	same "root digest" "$(sed 's/.*@//' big.ref)" "$("$mmoci" tag digest "$at")"
}
at=oci:$small/layout:noble
check "full disk: push to a layout" full push "$at"
check "full disk: copy from a registry to a layout" full "$mmoci" copy -q "$registry/site/big:noble" "$at"
at=oci-archive:$small/stick.tar
check "full disk: push to an archive" full push "$at"
check "full disk: copy from a registry to an archive" full "$mmoci" copy -q "$registry/site/big:noble" "$at"

# --- memory does not follow the size of a layer

# peak COMMAND..: its peak memory in KiB.
peak() {
	python3 -c 'import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)' "$@"
}
gigabyte() {
	truncate -s 1G layer
	_digest=$(sha256sum layer | cut -d' ' -f1)
	mv layer "images/blobs/sha256/$_digest"
	skopeo inspect --raw oci:images:good | jq -c --arg d "sha256:$_digest" \
		'.layers += [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $d, size: 1073741824}]' >manifest
	_manifest=$(sha256sum manifest | cut -d' ' -f1)
	jq -c --arg d "sha256:$_manifest" --argjson size "$(wc -c <manifest)" '.manifests += [{mediaType: "application/vnd.oci.image.manifest.v1+json",
		digest: $d, size: $size, annotations: {"org.opencontainers.image.ref.name": "gigabyte"}}]' images/index.json >index.new
	mv manifest "images/blobs/sha256/$_manifest"
	mv index.new images/index.json
}
memory() {
	gigabyte
	for place in layout registry; do
		at=oci:$work/heavy:x
		[ $place = layout ] || at=$registry/site/heavy:x
		wants "oci:$work/images:good"
		base=$(peak "$mmoci" push -q -f mmoci.yaml --date 2026-01-01 "$at")
		wants "oci:$work/images:gigabyte"
		with=$(peak "$mmoci" push -q -f mmoci.yaml --date 2026-01-02 "$at")
		echo "   push to a $place: $base KiB with an image of 100 kB, $with KiB with one of 1 GiB; at most 8192 more" >>figures
		[ "$with" -le $((base + 8192)) ]
	done
	rm -rf heavy
	copied=$(peak "$mmoci" copy -q "$registry/site/heavy:x" "oci-archive:$work/heavy.tar")
	[ "$(wc -c <heavy.tar)" -gt 1073741824 ]
	rm heavy.tar
	echo "   copy from the registry to an archive: $copied KiB" >>figures
	[ "$copied" -le $((base + 8192)) ]
}
check "memory: an image with a layer of 1 GiB takes no more than one of 100 kB" memory
cat figures
rm -rf storage images
