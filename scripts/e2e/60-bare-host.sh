# 60-bare-host.sh: from nothing to docker: a network in which there is a registry and nothing else, one static
# binary, one reference.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
base_root
image=$shared/layout

# Two namespaces and a cable between them. The registry is alone in one, the bare host in the other.
left=e2e-reg-$$ right=e2e-host-$$
ip netns add $left && echo $left >>spaces
ip netns add $right && echo $right >>spaces
ip -n $left link add e2e0 type veth peer name e2e0 netns $right
ip -n $left addr add 192.0.2.1/30 dev e2e0
ip -n $right addr add 192.0.2.2/30 dev e2e0
for n in $left $right; do
	ip -n $n link set lo up
	ip -n $n link set e2e0 up
done

# The registry speaks TLS under a CA of the site's.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=e2e \
	-addext 'subjectAltName=IP:192.0.2.1' -keyout tls.key -out tls.crt >&2
registry_prefix="ip netns exec $left"
registry_start registry registry "$work/storage" 192.0.2.1:5000 "$work/tls"
ref=192.0.2.1:5000/site/mirror:docker
filled() { ip netns exec $left curl -sf --cacert tls.crt https://192.0.2.1:5000/v2/; }
eventually filled
for s in docker site; do
	ip netns exec $left skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:$image:$s" "docker://192.0.2.1:5000/site/mirror:$s" >&2
done

static() {
	file=$(LC_ALL=C ldd "$mmoci" 2>&1 || :)
	echo "$file" | grep -q 'not a dynamic executable'
}
check "the binary is static" static

# bare NAME: $root is a minimal root with the binary and the site's key, and no more.
bare() {
	new_root "$1"
	cp "$mmoci" "$root/usr/local/bin/"
	cp "$sitekey" "$root/site.asc"
	cp tls.crt "$root/ca.crt"
	rm -rf "$root"/etc/apt/sources.list.d/*
	: >"$root/etc/resolv.conf"
}

# on_host COMMAND..: in $root, in the host's namespace, with a proxy that is dead.
on_host() {
	ip netns exec $right env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 \
		chroot "$root" "$@"
}

alone() {
	bare by-registry
	ip -n $right route
	same "routes" 1 "$(ip -n $right route | wc -l)"
	not on_host apt-get -q --print-uris install docker.io
	rm -f "$root/ca.crt.seen"
}
check "the host reaches the registry and nothing else, and knows no archive" alone
root=$work/by-registry

before=$(wc -l <registry.log)
installed() {
	on_host mmoci install docker.io --ref $ref --ca-file /ca.crt --keyring /site.asc -o /var/tmp/debs
	healthy
	in_root docker --version
}
check "mmoci install docker.io: dpkg is content, dpkg --audit is empty, docker runs" installed

# What was asked for: the tag, the core, metadata, and of the pool exactly what the host did not have.
exactly_the_needed() {
	tail -n +$((before + 1)) registry.log | grep -o '"GET /v2/site/mirror/[^ ]*' | sed 's/.*mirror.//' | sort >got.txt
	sed -n 's/^blobs.sha256:/sha256:/p' got.txt | sort -u >blobs.txt
	same "blobs fetched twice" "" "$(sed -n 's/^blobs.//p' got.txt | uniq -d)"
	root_digest=$(sed 's/.*@sha256://' "$shared/docker.ref")
	core=$(jq -r '.manifests[0].digest' "$image/blobs/sha256/$root_digest" | cut -d: -f2)
	jq -r '.config.digest, .layers[].digest' "$image/blobs/sha256/$core" | sort >core.txt
	(cd "$root/var/tmp/debs" && sha256sum ./*.deb) | sed 's/ .*//; s/^/sha256:/' | sort >installed.txt
	# In the pool of the snapshot, but not needed: never asked for.
	"$mmoci" ls "oci:$image:docker" | grep -o 'sha256:[0-9a-f]*' | sort >pool.txt
	comm -12 pool.txt blobs.txt | diff installed.txt -
	# The rest is of the core, or an index.
	comm -23 blobs.txt pool.txt | comm -23 - core.txt >indices.txt
	wc -l installed.txt indices.txt
	[ "$(wc -l <indices.txt)" -le 8 ]
	while read -r d; do
		size=$(wc -c <"$image/blobs/sha256/${d#sha256:}")
		echo "index $d $size"
		[ "$size" -lt 100000 ]
	done <indices.txt
}
check "the registry was asked for exactly the needed blobs" exactly_the_needed

again() {
	lines=$(wc -l <"$root/var/log/dpkg.log")
	on_host mmoci install docker.io --ref $ref --ca-file /ca.crt --keyring /site.asc -o /var/tmp/debs
	same "lines of dpkg.log" "$lines" "$(wc -l <"$root/var/log/dpkg.log")"
}
check "install again changes nothing" again

# --- the host becomes a mirror of its own: apt knows localhost, the proxy stays dead

site_ref=192.0.2.1:5000/site/mirror:site
by_localhost() {
	on_host mmoci host sources $site_ref --ca-file /ca.crt --keyring /site.asc
	on_host mmoci serve $site_ref --ca-file /ca.crt --state /var/lib/mmoci >local.access 2>local.log &
	echo $! >>"$work/pids"
	on_host mmoci host wait --timeout 60s
	on_host apt-get -q update
	on_host env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install hello
	healthy
	in_root hello
	on_host mmoci host undo
	same "files of mmoci in /etc/apt" "" "$(grep -rl mmoci "$root/etc/apt" || :)"
}
check "host sources, serve, and apt-get install hello from localhost; host undo" by_localhost

# --- by a carrier, without any network

skopeo --insecure-policy copy -q --all "oci:$image:docker" "oci-archive:$work/stick.tar:docker" >&2
by_carrier() {
	bare by-carrier
	mkdir "$root/mnt/stick"
	ln stick.tar "$root/mnt/stick/" 2>/dev/null || cp stick.tar "$root/mnt/stick/"
	ip -n $right link set e2e0 down
	on_host mmoci install docker.io --ref oci-archive:/mnt/stick/stick.tar:docker --keyring /site.asc
	healthy
	in_root docker --version
}
check "mmoci install docker.io from an oci-archive, without a network" by_carrier

by_debians_key() {
	bare by-debians-key
	ln stick.tar "$root/" 2>/dev/null || cp stick.tar "$root/"
	rm "$root/site.asc"
	k=/usr/share/keyrings/debian-archive-keyring.gpg
	on_host mmoci install docker.io --ref oci-archive:/stick.tar:docker --keyring debian=$k --keyring debian-security=$k
	healthy
	in_root docker --version
}
check "the same with nothing but the key that Debian has already" by_debians_key
ip -n $right link set e2e0 up
