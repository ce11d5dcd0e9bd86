# 93-static.sh: mmoci export --static: a tree of files behind nginx, with the configuration that is shipped, read by other
# people's registry clients, engines, apt, rsync and by mmoci; the tree brought up to date, killed, and carried on.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${E2E_SEED:-$(date +%s)}
say "seed $seed"
export DOCKER_CONFIG="$work/docker" REGCTL_CONFIG="$work/regctl.json"
mkdir -p "$DOCKER_CONFIG"

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
