# 93-static.sh: mmoci export --static: a tree of files behind nginx, with the configuration that is shipped, read by other
# people's registry clients, engines, apt, rsync and by mmoci; the tree brought up to date, killed, and carried on.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${E2E_SEED:-$(date +%s)}
say "seed $seed"
export DOCKER_CONFIG="$work/docker" REGCTL_CONFIG="$work/regctl.json"
mkdir -p "$DOCKER_CONFIG"
echo '{}' >"$DOCKER_CONFIG/config.json"

site
registry_start origin registry "$work/origin"
origin=$registry
regctl registry set --tls disabled --skip-check "$origin"

# app VERSION: an image of two platforms with an artifact about it.
app() {
	for a in amd64 arm64; do
		mkdir -p "layer-$a"
		echo "app $1 for $a" >"layer-$a/app"
		head -c 300000 /dev/urandom >"layer-$a/data"
		tar -cf "layer-$a.tar" -C "layer-$a" .
		crane append --oci-empty-base -f "layer-$a.tar" -t "$origin/app:part-$a" >/dev/null
		crane mutate --set-platform "linux/$a" "$origin/app:part-$a" -t "$origin/app:part-$a" >/dev/null
	done
	crane index append -m "$origin/app:part-amd64" -m "$origin/app:part-arm64" -t "$origin/app:part-all" >/dev/null
	crane manifest "$origin/app:part-all" | jq -c 'del(.manifests[].artifactType)' |
		regctl manifest put --content-type application/vnd.oci.image.index.v1+json "$origin/app:$1" >/dev/null
}
app 1
app=$(crane digest "$origin/app:1")
echo '{"bom": 1}' | regctl artifact put --subject "$origin/app:1" --artifact-type application/vnd.example.sbom >/dev/null
echo pause >pause.txt
tar -cf pause.tar pause.txt
crane append -f pause.tar -t "$origin/pause:3.9" >/dev/null
pause=$(crane digest "$origin/pause:3.9")
{
	sign_part
	selection "$up" hello docker.io
	echo "images:"
	echo "- {image: \"$origin/app:1\", as: \"registry.example.org/site/app:1\"}"
} >mmoci.yaml
"$mmoci" push -f mmoci.yaml oci:lay:noble >pushed.ref
"$mmoci" copy "$origin/pause:3.9" oci:lay:pause:3.9 >/dev/null
root=$(sed 's/.*@//' pushed.ref)
say "root $root, app $app, pause $pause"

export_all() { "$mmoci" export --static tree --apt oci:lay:noble oci:lay:pause:3.9 "$@"; }

# --- the tree

port=$(free_port)
at=127.0.0.1:$port
# front_start: nginx with the file that is shipped; its two marked lines are changed, and nothing else.
front_start() {
	mkdir -p front.d
	sed -e "s|listen 80;|listen $at;|" -e "s|/srv/mmoci;|$work/tree;|" "$E2E_TOP/artifacts/nginx/static.conf" >static.conf
	cat >front.conf <<-END2
		daemon off; user root; worker_processes 1; pid $work/front.d/pid; error_log $work/front.error;
		events { worker_connections 256; }
		http {
		  log_format short '\$status \$body_bytes_sent \$request_method \$request_uri \$http_user_agent';
		  access_log $work/front.access short;
		  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d;
		  uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
		  include $work/static.conf;
		}
	END2
	start front nginx -e "$work/front.error" -c "$work/front.conf"
	eventually curl -sf "http://$at/v2/"
}

exported() {
	export_all --link >exported
	cat exported
	grep -qx "mirror:noble@$root" exported
	grep -qx "site/app:1@$app" exported
	grep -qx "registry.example.org/site/app:1@$app" exported
	grep -qx "mirror/images/site/app:1@$app" exported
	grep -qx "pause:3.9@$pause" exported
	for f in lay/blobs/sha256/*; do
		same "inode of $f" "$(stat -c %i "$f")" "$(stat -c %i "tree/blobs/sha256/${f##*/}")"
	done
	same "the tag's link" "$(readlink tree/repositories/site/app/_tags/1)" "../../../../documents/sha256/${app#sha256:}"
}
check "export: every blob is a link to the layout's" exported

again() {
	sleep 1.1
	touch stamp
	export_all >exported2
	cmp exported exported2
	find tree -newer stamp -o -newercm stamp >newer
	cat newer
	[ ! -s newer ]
}
check "again: no inode, time or byte of the tree changes" again

front_start
regctl registry set --tls disabled --skip-check "$at"

by_curl() {
	curl -sfI "http://$at/v2/mirror/manifests/noble" | tr -d '\r' >head
	cat head
	grep -qix "docker-content-digest: $root" head
	grep -qix "content-type: application/vnd.oci.image.index.v1+json" head
	curl -sf "http://$at/v2/mirror/manifests/noble" | sha256sum | grep -q "^${root#sha256:}"
	same "a missing tag" 404 "$(curl -s -o missing -w '%{http_code}' "http://$at/v2/mirror/manifests/none")"
	jq -e '.errors[0].code == "MANIFEST_UNKNOWN"' missing
	same "a way out" 404 "$(curl -s --path-as-is -o missing -w '%{http_code}' "http://$at/v2/mirror/_tags/../manifests/..%2f..%2f..%2fmmoci-static")"
	same "a tag put" 405 "$(curl -s -o missing -w '%{http_code}' -X PUT -d x "http://$at/v2/mirror/manifests/noble")"
}
check "curl: type, digest and errors of a registry" by_curl

# --- registry clients; each digest is what it was

by_crane() {
	same "digest of app" "$(crane digest "$at/site/app:1")" "$app"
	same "digest of the snapshot" "$(crane digest "$at/mirror:noble")" "$root"
	crane validate --remote "$at/site/app:1"
	crane pull --format oci "$at/site/app:1" crane-app
	grep -q "$app" crane-app/index.json
	crane copy "$at/mirror:noble" "$origin/crane:noble"
	same root "$(crane digest "$origin/crane:noble")" "$root"
	crane catalog --insecure "$at" >catalog
	grep -qx site/app catalog
	crane ls "$at/mirror" | grep -qx "noble-.*-$(echo "$root" | cut -c8-19)"
}
check "crane: digest, validate, pull, copy, catalog, ls" by_crane

by_skopeo() {
	for n in mirror:noble site/app:1 pause:3.9; do
		skopeo --insecure-policy copy -q --all --preserve-digests --src-tls-verify=false --dest-tls-verify=false "docker://$at/$n" "docker://$origin/skopeo/$n"
		same "digest of $n" "$(crane digest "$origin/skopeo/$n")" "$(crane digest "$at/$n")"
	done
	skopeo list-tags --tls-verify=false "docker://$at/site/app" | jq -e '.Tags == ["1"]'
}
check "skopeo copies the snapshot and images, two platforms and Docker's types" by_skopeo

by_oras() {
	same resolved "$(oras resolve --plain-http "$at/mirror:noble")" "$root"
	oras copy -r --from-plain-http --to-plain-http "$at/site/app:1" "$origin/oras/app:1"
	same app "$(crane digest "$origin/oras/app:1")" "$app"
	oras discover --plain-http --format json "$at/site/app:1" | jq -e '.referrers[0].artifactType == "application/vnd.example.sbom"'
	regctl artifact list "$origin/oras/app:1" | grep -q application/vnd.example.sbom
}
check "oras resolves by tag, and copies with what refers to the image" by_oras

verified() {
	"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" \
		--keyring "debian-security=$up/keyring-debian-security.gpg" --require upstream
}
by_mmoci() {
	verified "$at/mirror:noble"
	"$mmoci" copy "$at/mirror:noble" oci:back:noble >/dev/null
	same root "$("$mmoci" tag digest oci:back:noble)" "$root"
	for from in "$at/mirror:noble" oci:lay:noble; do
		"$mmoci" pull "$from" --keyring "$sitekey" --extract docker.io --host-status none -o "debs-${from%%:*}" >"lines-${from%%:*}"
	done
	diff -r "debs-${at%%:*}" debs-oci
	sed 's|debs-[^/]*/||g' "lines-${at%%:*}" >lines-a
	sed 's|debs-[^/]*/||g' lines-oci | cmp - lines-a
	"$mmoci" tag list "$at/mirror" | grep -q '^noble '
}
check "mmoci verifies, copies and extracts from it, as from the layout" by_mmoci

# --- engines

by_podman() {
	podman --root "$work/pod" --runroot "$work/podrun" --storage-driver vfs pull -q --tls-verify=false "$at/pause:3.9"
	podman --root "$work/pod" --runroot "$work/podrun" --storage-driver vfs image inspect "$at/pause:3.9" --format '{{.Digest}}' | grep -qx "$pause"
}
check "podman pulls" by_podman

# The way of a release: a candidate is looked at, promoted, and exported by the hook; who pulls gets that one.
cat >promoted.sh <<END
#!/bin/sh
cat >"$work/event"
exec "$mmoci" export --static "$work/tree" --apt oci:lay:noble oci:lay:pause:3.9 oci:lay:shop:stable
END
chmod 755 promoted.sh
promoted() {
	"$mmoci" copy "$origin/app:1" oci:lay:shop:candidate
	"$mmoci" verify oci:lay:shop:candidate
	not crane digest "$at/shop:stable"
	"$mmoci" tag promote oci:lay:shop:candidate shop:stable --hook ./promoted.sh
	jq -e --arg d "$app" '.reference == "oci:lay:shop:stable" and .to.digest == $d and .from == null' event
	same "the tag" "$(crane digest "$at/shop:stable")" "$app"
	not crane digest "$at/shop:candidate"
}
check "a candidate image, promoted and exported by the hook" promoted

by_docker() {
	start dockerd dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root "$work/dockerd" \
		--exec-root "$work/dockerexec" -H "unix://$work/docker.sock" --pidfile "$work/dockerd.pidfile"
	eventually docker -H "unix://$work/docker.sock" version
	for n in "site/app:1" "pause:3.9"; do
		docker -H "unix://$work/docker.sock" pull "$at/$n" | tee docker.out
		grep -qF "$(crane digest "$at/$n")" docker.out
	done
	docker -H "unix://$work/docker.sock" pull --platform linux/arm64 "$at/site/app:1"
	for a in amd64 arm64; do
		docker -H "unix://$work/docker.sock" pull --platform "linux/$a" "$at/shop:stable" | grep -F "$app"
		same "architecture" "$a" "$(docker -H "unix://$work/docker.sock" image inspect -f '{{.Architecture}}' "$at/shop:stable")"
	done
	kill "$(cat "$work/dockerd.pidfile")"
}
check "docker pulls, for two platforms" by_docker

by_ctr() {
	mkdir -p hosts/registry.example.org
	printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$at" >hosts/registry.example.org/hosts.toml
	cat >containerd.toml <<-END2
		version = 2
		root = "$work/ctrd"
		state = "$work/ctrdrun"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$work/ctrd.sock"
	END2
	start containerd containerd -c containerd.toml
	eventually ctr -a "$work/ctrd.sock" version
	# By its own name: the tree is a mirror of registry.example.org, which is not there.
	ctr -a "$work/ctrd.sock" images pull --hosts-dir "$work/hosts" --snapshotter native --all-platforms registry.example.org/site/app:1
	ctr -a "$work/ctrd.sock" images ls | grep -F "registry.example.org/site/app:1" | grep -F "$app"
	ctr -a "$work/ctrd.sock" images pull --hosts-dir "$work/hosts" --snapshotter native --all-platforms registry.example.org/shop:stable
	ctr -a "$work/ctrd.sock" images ls | grep -F "registry.example.org/shop:stable" | grep -F "$app" | grep -F linux/arm64
	ctr -a "$work/ctrd.sock" content fetch --hosts-dir "$work/hosts" registry.example.org/mirror:noble | tail -1
	ctr -a "$work/ctrd.sock" content ls | grep -qF "$root"
}
check "containerd pulls by the image's own name, both platforms, and fetches the snapshot" by_ctr

# --- apt

# From here on nothing names it: the tree is what it was.
"$mmoci" export --static tree --keep-days 0 --apt oci:lay:noble oci:lay:pause:3.9 >exported3
cmp exported exported3

apt_own apt
for p in debian debian-security; do
	for s in tree/apt/mirror:noble/"$p"/dists/*; do
		[ ! -d "$s" ] || echo "deb [signed-by=$sitekey] http://$at/apt/mirror:noble/$p ${s##*/dists/} main"
	done
done >apt/sources/tree.list
by_apt() {
	cat apt/sources/tree.list
	own apt-get -q update >apt.out 2>&1
	updated apt.out
	mkdir -p got && (cd got && own apt-get -q download hello)
	cmp got/hello_*.deb debs-hello/hello_*.deb
	own apt-get -q update >apt2.out 2>&1
	updated apt2.out
	grep -q '^Hit:' apt2.out
}
"$mmoci" pull oci:lay:noble --keyring "$sitekey" --extract hello --host-status none -o debs-hello >/dev/null
check "apt updates and downloads; a second update is a Hit" by_apt

# --- a mirror by rsync

mirrored() {
	rsync -aH --safe-links --exclude /repositories --exclude '/apt*' tree/ far/
	rsync -aH --safe-links --delete-after tree/ far/
	[ -z "$(rsync -aHn --safe-links --delete --itemize-changes tree/ far/)" ]
	export_all >/dev/null
	[ -z "$(rsync -aHn --safe-links --delete --itemize-changes tree/ far/)" ]
	same "links of a blob there" "$(stat -c %h "far/blobs/sha256/${app#sha256:}")" 2
}
check "rsync -aH: a second run, also after another export, moves nothing" mirrored

# --- the tag moves; kills

moved() {
	app 2
	sed -i "s|app:1\", as|app:2\", as|; s|site/app:1|site/app:2|" mmoci.yaml
	sed -i 's/hello, //; s/, hello//' mmoci.yaml
	"$mmoci" push -f mmoci.yaml oci:lay:noble >pushed.ref
	root=$(sed 's/.*@//' pushed.ref)
	python3 -c "import random, sys; r = random.Random($seed); [print('%.3f' % r.uniform(0, 0.25)) for _ in range(8)]" >kills
	while read -r t; do
		timeout -s KILL "$t" "$mmoci" export --static tree --apt oci:lay:noble oci:lay:pause:3.9 >/dev/null 2>&1 || :
		got=$(crane digest "$at/mirror:noble")
		[ "$got" = "$old" ] || [ "$got" = "$root" ] || { echo "$got is neither"; return 1; }
		crane validate --remote "$at/site/app:1" # of the old one: kept
		own apt-get -q update >killed.out 2>&1
		updated killed.out
	done <kills
	export_all >/dev/null
	same "the tag" "$(crane digest "$at/mirror:noble")" "$root"
	same "the old one by digest" "$(crane digest "$at/mirror@$old")" "$old"
	verified "$at/mirror:noble"
	verified "$at/mirror@$old"
	own apt-get -q update >moved.out 2>&1
	updated moved.out
	not own apt-cache show hello
	curl -sf -o late.deb "http://$at/apt/mirror:noble/$(cd trees.old && find . -name 'hello_*.deb' | sed 's|^\./||')"
	cmp late.deb debs-hello/hello_*.deb
	[ -z "$(find tree -name '.mmoci-tmp-*')" ]
}
old=$root
mkdir -p trees.old && cp -al "tree/trees/${root#sha256:}/." trees.old/
check "killed eight times while the tag moves (seed $seed): old tags whole, a rerun finishes, yesterday's .deb is still there" moved

follows() {
	"$mmoci" export --static follow --follow 1s oci:lay:follow >follow.tags 2>follow.err &
	follower=$!
	echo $follower >>pids
	eventually test -e follow/repositories/mirror/_tags/follow
	"$mmoci" tag promote oci:lay:noble follow --allow-older >/dev/null
	eventually grep -q "^mirror:follow@$root" follow.tags
	same "the tag leads to" "${root#sha256:}" "$(basename "$(readlink follow/repositories/mirror/_tags/follow)")"
	kill -TERM $follower
	got=0
	wait $follower || got=$?
	same "exit" 0 $got
}
"$mmoci" tag promote "oci:lay:noble@$old" follow >/dev/null
root=$(sed 's/.*@//' pushed.ref)
check "export --follow: a tag that moves is exported, SIGTERM ends it with 0" follows

left() {
	rm -rf trees.old
	root=$(sed 's/.*@//' pushed.ref)
	grep -q "^$(date -u +%Y-%m-%d)T" "tree/left/${old#sha256:}"
	date -u -d '3 days ago' +%Y-%m-%dT%H:%M:%SZ >"tree/left/${old#sha256:}"
	export_all >/dev/null
	not crane digest "$at/mirror@$old"
	not crane digest "$at/site/app:1"
	same "the tag" "$(crane digest "$at/mirror:noble")" "$root"
	verified "$at/mirror:noble"
	crane validate --remote "$at/pause:3.9"
	"$mmoci" export --static fresh --apt oci:lay:noble oci:lay:pause:3.9 >/dev/null
	(cd tree && find . ! -type d | LC_ALL=C sort) >names
	(cd fresh && find . ! -type d | LC_ALL=C sort) | diff names -
}
check "three days later: what no root has is gone, and nothing else" left

wrong() {
	cp -a lay bad
	"$mmoci" export --static whole oci:lay:noble >/dev/null
	f=bad/blobs/sha256/$(ls -S whole/blobs/sha256 | head -1)
	damage "$f" 1000
	refused 3 "${f##*/}" "$mmoci" export --static other oci:bad:noble
	not test -e "other/blobs/sha256/${f##*/}"
	not test -e other/repositories/mirror/_tags
}
check "one wrong byte: named, without a name in the tree" wrong

by_programs() { go test -C "$E2E_TOP" -tags real -count=1 -run 'TestNginxCaching|TestCarriedByRsync' ./internal/serve/paths ./internal/static; }
check "what nginx lets caches keep is what serve does, or less; rsync carries no link that leads out" by_programs
