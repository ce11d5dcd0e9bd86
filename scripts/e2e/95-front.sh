# 95-front.sh: a front that hands out manifests and indices itself and sends clients to mirrors for the rest. Three mirrors are
# static trees behind nginx; podman, skopeo, docker, containerd and apt pull through the front, mirrors die, lie and fall
# behind, and no client's password reaches one.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/tree-nginx.sh"
export DOCKER_CONFIG="$work/docker" REGCTL_CONFIG="$work/regctl.json"
mkdir -p "$DOCKER_CONFIG"
echo '{}' >"$DOCKER_CONFIG/config.json"

# --- an image and packages in a registry, and three trees of the same

site
registry_start origin registry "$work/origin"
origin=$registry
origin_pid=$pid
regctl registry set --tls disabled --skip-check "$origin"
other=arm64
[ "$arch" != arm64 ] || other=amd64
for a in "$arch" "$other"; do
	for layer in 1 2; do
		mkdir -p "layer-$a-$layer"
		echo "layer $layer of $a" >"layer-$a-$layer/name-$layer"
		head -c 400000 /dev/urandom >"layer-$a-$layer/data-$layer"
		tar -cf "layer-$a-$layer.tar" -C "layer-$a-$layer" .
	done
	crane append --oci-empty-base -f "layer-$a-1.tar" -f "layer-$a-2.tar" -t "$origin/app:$a" >/dev/null
	crane mutate --set-platform "linux/$a" "$origin/app:$a" -t "$origin/app:$a" >/dev/null
done
crane index append -m "$origin/app:$arch" -m "$origin/app:$other" -t "$origin/app:both" >/dev/null
crane manifest "$origin/app:both" | jq -c 'del(.manifests[].artifactType)' |
	regctl manifest put --content-type application/vnd.oci.image.index.v1+json "$origin/app:candidate" >/dev/null
"$mmoci" tag promote "$origin/app:candidate" stable >/dev/null
app=$(crane digest "$origin/app:candidate")
mine=$(crane digest --platform "linux/$arch" "$origin/app:candidate")
{
	sign_part
	# shellcheck disable=SC2046 # names
	selection "$up" hello docker.io $(base | tr '\n' ' ')
	echo "images:"
	echo "- {image: \"$origin/app:stable\", as: \"registry.example.org/site/app:1\"}"
} >mmoci.yaml
"$mmoci" push -f mmoci.yaml oci:lay:noble >pushed.ref
root=$(sed 's/.*@//' pushed.ref)
"$mmoci" copy oci:lay:noble "$origin/mirror:noble" >/dev/null
"$mmoci" export --static tree --apt oci:lay:noble >/dev/null
say "root $root, app $app"
for m in de1 de2 fr1; do cp -al tree "tree-$m"; done

# manifest: that of this platform, through the front.
manifest() { crane manifest --platform "linux/$arch" "$front/site/app:1"; }

# mirror_start NAME MORE: nginx with the file that is shipped, at an address of its own; $mirror is its URL; MORE of its entry.
mirror_start() {
	case $1 in de1) _host=127.0.0.11 ;; de2) _host=127.0.0.12 ;; *) _host=127.0.0.13 ;; esac
	[ -e "$1.port" ] || free_port >"$1.port"
	tree_nginx "$1" "$_host:$(cat "$1.port")" "$work/tree-$1"
	mirror=http://$_host:$(cat "$1.port")
	grep -q "name: $1," mirrors.yaml 2>/dev/null || echo "- {name: $1, url: \"$mirror/\", allow-http: yes$2}" >>mirrors.yaml
}
mirror_start de1 ""
mirror_start de2 ", weight: 200"
mirror_start fr1 ""
cat mirrors.yaml >&2

# mark: from here on clients and of_front look at the logs.
mark() { for f in de1 de2 fr1 front; do wc -l <"$f.access" >"$f.mark"; done; }
# since NAME: the log of a front or mirror since then.
since() { tail -n +$(($(cat "$1.mark") + 1)) "$1.access"; }
# clients: what clients, and not the front, had of mirrors.
clients() { for m in de1 de2 fr1; do since "$m"; done | grep -v 'mmoci-front\|"curl'; }
# of_front PATTERN: what the front answered itself, by path.
of_front() { since front | jq -c "select(.status == 200 and .method == \"GET\") | select(.path | test(\"$1\"))"; }

echo 'host:secret' >credentials
serve_start front --registry --mirrors mirrors.yaml --credentials credentials --follow 5s "$origin/mirror:noble"
front=${serve#http://}
front_pid=$pid
base=http://host:secret@$front

# --- registry clients

warm() {
	same "without a password" 401 "$(curl -s -o answer -w '%{http_code}' "http://$front/v2/site/app/manifests/1")"
	crane auth login "$front" -u host -p secret
	same app "$(crane digest "$front/site/app:1")" "$app"
	# The front serves a blob itself until it has seen that a mirror's is right.
	for l in $(manifest | jq -r '.layers[].digest, .config.digest'); do
		redirected() { [ "$(curl -s -o answer -w '%{http_code}' "$base/v2/site/app/blobs/$l")" = 307 ]; }
		eventually redirected
		curl -s -D head -o answer "$base/v2/site/app/blobs/$l?ns=registry.example.org"
		tr -d '\r' <head
		tr -d '\r' <head | grep -qx "Cache-Control: no-store"
		tr -d '\r' <head | grep -qx "Docker-Content-Digest: $l"
		to=$(tr -d '\r' <head | sed -n 's/^X-Mmoci-Mirror: //p')
		tr -d '\r' <head | grep -qx "Location: http://$(sed -n "s|.*name: $to,.*http://\(.*\)/\".*|\1|p" mirrors.yaml)/blobs/sha256/${l#sha256:}"
		curl -sfL "$base/v2/site/app/blobs/$l" | sha256sum | grep -q "^${l#sha256:}"
		same HEAD 200 "$(curl -s -I -o answer -w '%{http_code}' "$base/v2/site/app/blobs/$l")"
	done
}
check "a blob is answered with 307 to a mirror, once the front saw that its bytes are right; HEAD by the front" warm

through() {
	mark
	"$@"
	clients >clients
	cat clients
	# Two layers from mirrors, none from the front; the manifest from the front.
	for l in $(manifest | jq -r '.layers[].digest'); do
		grep -q "^20[06] .*${l#sha256:}" clients
		[ -z "$(of_front "blobs/$l")" ]
	done
	[ -n "$(of_front "site/app/manifests/")" ]
	not grep -v '"-"$' clients
	not grep manifests clients
}

pod() { podman --root "$work/pod" --runroot "$work/podrun" --storage-driver vfs "$@"; }
by_podman() {
	pod login --tls-verify=false -u host -p secret "$front"
	pod pull -q --tls-verify=false "$front/site/app:1"
	pod image inspect "$front/site/app:1" --format '{{.Digest}} {{.RepoDigests}}' | grep -F "$app"
	pod rmi "$front/site/app:1"
}
check "podman logs in and pulls: layers from mirrors, which see no password" through by_podman

by_skopeo() {
	curl -sf -o registries.conf "$base/setup/registries.conf"
	skopeo login --authfile "$work/auth.json" --tls-verify=false -u host -p secret "$front"
	skopeo --registries-conf "$work/registries.conf" --insecure-policy copy -q --authfile "$work/auth.json" docker://registry.example.org/site/app:1 "dir:$work/skopeo-app"
	same app "sha256:$(sha256sum <skopeo-app/manifest.json | cut -d' ' -f1)" "$mine"
}
check "skopeo by the front's own registries.conf and the image's own name, the same" through by_skopeo

by_docker() {
	start dockerd dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root "$work/dockerd" \
		--exec-root "$work/dockerexec" -H "unix://$work/docker.sock" --pidfile "$work/dockerd.pidfile"
	eventually docker -H "unix://$work/docker.sock" version
	docker -H "unix://$work/docker.sock" login -u host -p secret "$front"
	docker -H "unix://$work/docker.sock" pull "$front/site/app:1" | tee docker.out
	grep -qF "$app" docker.out
	docker -H "unix://$work/docker.sock" pull --platform "linux/$other" "$front/site/app:1" | grep -F "$app"
	same architecture "$other" "$(docker -H "unix://$work/docker.sock" image inspect -f '{{.Architecture}}' "$front/site/app:1")"
	kill "$(cat "$work/dockerd.pidfile")"
}
check "docker, the same, for two platforms" through by_docker

by_ctr() {
	mkdir -p hosts/registry.example.org
	curl -sf -o hosts/registry.example.org/hosts.toml "$base/setup/hosts.toml"
	cat hosts/registry.example.org/hosts.toml
	cat >containerd.toml <<-END
		version = 2
		root = "$work/ctrd"
		state = "$work/ctrdrun"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$work/ctrd.sock"
	END
	start containerd containerd -c containerd.toml
	eventually ctr -a "$work/ctrd.sock" version
	ctr -a "$work/ctrd.sock" images pull --hosts-dir "$work/hosts" --snapshotter native -u host:secret --all-platforms registry.example.org/site/app:1
	ctr -a "$work/ctrd.sock" images ls | grep -F "registry.example.org/site/app:1" | grep -F "$app" | grep -F "linux/$other"
}
check "containerd by the front's own hosts.toml and the image's own name, the same, for two platforms" through by_ctr

# --- a mirror that refuses connections

# events TEXT: how many events of the front's say that.
events() { jq -c "select(.msg == \"$1\")" front.log | wc -l; }
died() {
	l=$(manifest | jq -r '.layers[0].digest')
	m=$(curl -s -I -X GET "$base/v2/site/app/blobs/$l" | tr -d '\r' | sed -n 's/^X-Mmoci-Mirror: //p')
	stop "$(cat "$m.pid")"
	pod pull -q --tls-verify=false "$front/site/app:1" || echo "the first pull failed"
	pod rmi -f "$front/site/app:1" || :
	pod pull -q --tls-verify=false "$front/site/app:1"
	pod rmi "$front/site/app:1"
	same "how often the mirror was named" "$(events "mirror left")" 1
	jq -e "select(.msg == \"mirror left\" and .mirror == \"$m\" and .fault == \"dead\")" front.log
	curl -sf "$base/metrics" | grep -x "mmoci_mirror_used{mirror=\"$m\"} 0"
	curl -sf "$base/metrics" | grep -x "mmoci_mirror_faults_total{fault=\"dead\",mirror=\"$m\"} 1"
	curl -s "$base/readyz" | grep "mirror $m is not used: dead"
	mirror_start "$m"
	returned() { [ "$(events "mirror back")" = 1 ]; }
	eventually returned
	redirected() { [ "$(curl -s -I -X GET "$base/v2/site/app/blobs/$l" | tr -d '\r' | sed -n 's/^X-Mmoci-Mirror: //p')" = "$m" ]; }
	eventually redirected
}
check "a mirror refuses connections: the next pull is the front's, it is named once, and used again when it is back" died

# --- apt

apt_own plain
netrc="machine http://$front login host password secret"
echo "$netrc" >netrc
echo "Dir::Etc::netrc \"$work/netrc\";" >>plain.conf
echo "deb [signed-by=$sitekey] http://$front/debian bookworm main" >plain/sources/front.list
wanted=$(find tree/apt/mirror:noble/debian/pool/ -name '*.deb' -size -400k | sed 's|.*/||; s|_.*||' | sort -u | grep -vx hello | head -n 12 | tr '\n' ' ')
by_apt() {
	mark
	own apt-get -q update >plain.out 2>&1
	updated plain.out
	# The first client has them of the front, the next ones of mirrors.
	for n in 1 2 3; do
		rm -rf got && mkdir got
		# shellcheck disable=SC2086 # names
		(cd got && own apt-get -q download $wanted) || return 1
		sleep 0.5
		[ $n != 1 ] || mark
	done
	clients >clients
	not grep -v '"-"$' clients
	not grep -v ' GET /blobs/sha256/' clients
	same "answers by 302" "$(since front | jq -c 'select(.status == 302 and .mirror != null)' | wc -l)" "$(wc -l <clients)"
	[ "$(wc -l <clients)" -ge 12 ]
	for m in de1 de2 fr1; do since $m | grep -q APT-HTTP; done
	for f in got/*.deb; do test -e "tree/blobs/sha256/$(sha256sum <"$f" | cut -d' ' -f1)"; done
}
check "apt by the front's plain URL: indices from the front, packages by 302 from mirrors, without its password" by_apt

by_list() {
	sed -i "s|name: \([a-z0-9]*\),|name: \1, apt: \"apt/mirror:noble\",|" mirrors.yaml
	listed() { curl -sf "$base/setup/debian.mirrors" | grep -q "apt/mirror:noble/debian/"; }
	eventually listed
	curl -sf "$base/setup/debian.mirrors"
	same lines 6 "$(curl -sf "$base/setup/debian.mirrors" | grep -c '^http')"
	curl -sf "$base/setup/" | grep -qx "http://$front/setup/debian.mirrors"
	apt_own listed
	echo "Dir::Etc::netrc \"$work/netrc\";" >>listed.conf
	echo "deb [signed-by=$sitekey] mirror+http://$front/setup/debian.mirrors bookworm main" >listed/sources/front.list
	mark
	own apt-get -q update >listed.out 2>&1
	updated listed.out
	rm -rf got && mkdir got
	# shellcheck disable=SC2086 # names
	(cd got && own apt-get -q download $wanted)
	clients >clients
	same "packages from mirrors" "$(grep -c ' GET /apt/mirror:noble/debian/pool/' clients)" 12
	not grep dists clients
	not grep -v '"-"$' clients
	[ -n "$(of_front debian/dists/)" ]
	[ -z "$(of_front debian/pool/)" ]
}
check "apt by mirror+http: indices from the front, packages from the mirrors' own trees" by_list

# --- wrong bytes, and what is not there

wrong() {
	f=$(find tree/apt/mirror:noble/debian/pool -name 'hello_*.deb')
	d=$(sha256sum <"$f" | cut -d' ' -f1)
	for m in de1 de2 fr1; do
		rm "tree-$m/blobs/sha256/$d"
		cp "$f" "tree-$m/blobs/sha256/$d"
		damage "tree-$m/blobs/sha256/$d" 20000
	done
	for n in 1 2 3 4; do
		rm -rf got && mkdir got
		(cd got && APT_CONFIG=$work/plain.conf apt-get -q download hello)
		same hello "$(sha256sum <"$(echo got/hello_*.deb)" | cut -d' ' -f1)" "$d"
	done
	mv credentials credentials.away && mv credentials.away credentials
	named() { [ "$(jq -c "select(.fault == \"wrong\" and .digest == \"sha256:$d\") | .mirror" front.log | sort | uniq -c | grep -c ' 1 ')" -ge 1 ]; }
	eventually named
	jq -c 'select(.fault == "wrong")' front.log
	not grep "blobs/sha256/$d.*APT" de1.access de2.access fr1.access
	curl -sf "$base/metrics" | grep 'mmoci_mirror_faults_total{fault="wrong",mirror="[a-z0-9]*"} 1'
}
check "wrong bytes at all mirrors: no client was sent there, each that was looked at is named" wrong

sent_to() { # $m: the mirror that a client is sent to, once one was looked at
	m=$(curl -s -I -X GET "$base/v2/site/app/blobs/$l" | tr -d '\r' | sed -n 's/^X-Mmoci-Mirror: //p')
	[ -n "$m" ]
}
lost() {
	l=$(manifest | jq -r '.layers[1].digest')
	eventually sent_to
	rm "tree-$m/blobs/sha256/${l#sha256:}"
	curl -s -L -o answer "$base/v2/site/app/blobs/$l" # a later one is better
	right() { curl -sfL "$base/v2/site/app/blobs/$l" | sha256sum | grep "^${l#sha256:}"; }
	eventually right
	told() { jq -e "select(.msg == \"mirror lacks blobs\" and .mirror == \"$m\")" front.log; }
	eventually told
	used() { curl -sf "$base/metrics" | grep -x "mmoci_mirror_used{mirror=\"$m\"} 1"; }
	eventually used
}
check "a mirror that lost a blob is left for that one, and used for others" lost

# --- rules, and a front whose registry is away

ruled() {
	cat >policy.yaml <<-END
		rules:
		- {name: no-app, deny: "*", image: "registry.example.org/site/*", reason: "not before Monday"}
		- {name: no-hello, deny: hello, reason: "wave instead"}
	END
	serve_start ruled --registry --mirrors mirrors.yaml --policy policy.yaml "$origin/mirror:noble"
	l=$(manifest | jq -r '.layers[0].digest')
	hello=$(cd "$work/tree/apt/mirror:noble" && find debian/pool -name 'hello_*.deb')
	for n in 1 2 3; do
		same "a denied layer" 403 "$(curl -s -o answer -w '%{http_code}' "$serve/v2/site/app/blobs/$l")"
		same "a denied package" 403 "$(curl -s -o answer -w '%{http_code}' "$serve/$hello")"
		same "the same without a redirect" 403 "$(curl -s -o answer -w '%{http_code}' "$serve/mmoci/direct/$hello")"
	done
	stop "$pid"
}
check "what a rule denies is redirected to no mirror" ruled

away() {
	stop "$origin_pid"
	stop "$front_pid"
	serve_start front --registry --mirrors mirrors.yaml --credentials credentials --wait "$origin/mirror:noble"
	front=${serve#http://} front_pid=$pid
	crane auth login "$front" -u host -p secret
	same app "$(crane digest "$front/site/app:1")" "$app"
	for l in $(manifest | jq -r '.layers[].digest'); do
		come() { curl -sfL "http://host:secret@$front/v2/site/app/blobs/$l" | sha256sum | grep -q "^${l#sha256:}"; }
		eventually come
	done
}
check "the registry away, the front started anew: manifests from what it holds, blobs from mirrors and from what it holds" away

refusals() {
	echo "- {name: me, url: \"http://127.0.0.1:8123/\", allow-http: yes}" >bad.yaml
	refused 2 "would send their password" "$mmoci" serve --mirrors bad.yaml --listen 127.0.0.1:8124 --state bad.state oci:lay:noble
	refused 2 "is this server itself" "$mmoci" serve --mirrors bad.yaml --listen 127.0.0.1:8123 --state bad.state oci:lay:noble
	echo "- {name: me, url: \"https://a.site.example.org/\"}" >bad.yaml
	refused 2 "would send their password" "$mmoci" serve --mirrors bad.yaml --base-url https://site.example.org --listen 127.0.0.1:0 --state bad.state oci:lay:noble
	printf -- '- name: me\n  url: http://de1.example.org/\n  wieght: 3\n' >bad.yaml
	refused 2 "bad.yaml:3: unknown key" "$mmoci" serve --mirrors bad.yaml --listen 127.0.0.1:0 --state bad.state oci:lay:noble
}
check "a list with the front itself, a name below it or an unknown key is refused at the start" refusals
