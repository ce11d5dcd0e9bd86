# 82-serve-registry.sh: the server as a registry. Other people's clients copy images and a snapshot out of /v2/, from
# every kind of place, and each digest is what it was.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
skopeo_copy() { skopeo --insecure-policy copy -q --all --src-tls-verify=false --dest-tls-verify=false "$@"; }
export REGCTL_CONFIG="$work/regctl.json" DOCKER_CONFIG="$work/docker"
mkdir -p "$DOCKER_CONFIG"

# --- images by other people's tools: two platforms with an artifact about them, in OCI's types; one in Docker's

registry_start origin registry "$work/origin"
origin=$registry
origin_pid=$pid
registry_start target registry "$work/target"
target=$registry
for r in "$origin" "$target"; do regctl registry set --tls disabled --skip-check "$r"; done

# app VERSION: $origin/app:VERSION.
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
	# skopeo 1.9 writes an index again that has artifactType in its entries.
	crane manifest "$origin/app:part-all" | jq -c 'del(.manifests[].artifactType)' |
		regctl manifest put --content-type application/vnd.oci.image.index.v1+json "$origin/app:$1" >/dev/null
}
app 1
app=$(crane digest "$origin/app:1")
echo '{"bom": 1}' | regctl artifact put --subject "$origin/app:1" --artifact-type application/vnd.example.sbom --annotation org.example.by=e2e >/dev/null
echo pause >pause.txt
tar -cf pause.tar pause.txt
crane append -f pause.tar -t "$origin/pause:3.9" >/dev/null
pause=$(crane digest "$origin/pause:3.9")

config() {
	sign_part
	selection "$up" hello
	cat <<-END
		images:
		- {image: "$origin/app:1", as: "registry.example.org/site/app:1"}
		- {image: "$origin/pause:3.9", as: "pause.example:5000/pause:3.9"}
	END
}
config >mmoci.yaml
"$mmoci" push -f mmoci.yaml "$origin/site/mirror:noble" >pushed.ref
root=$(sed 's/.*@//' pushed.ref)
"$mmoci" copy "$origin/site/mirror:noble" oci:stick:noble >/dev/null
"$mmoci" copy "$origin/site/mirror:noble" oci-archive:stick.tar:noble >/dev/null
say "root $root, app $app, pause $pause"

verified() {
	"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" \
		--keyring "debian-security=$up/keyring-debian-security.gpg" --require upstream
}

# --- every kind of place, every client

# out_of WHERE REPOSITORY: all that follows is for $at, where the snapshot is REPOSITORY:noble.
out_of() {
	to=$target/$1
	regctl registry set --tls disabled --skip-check "$at"

	listed() {
		same catalog "$(crane catalog --insecure "$at" | sort | tr "\n" " ")" "$3"
		same tags "$(crane ls "$at/site/app")" 1
		crane ls "$at/$2" | grep -qx noble
		regctl tag ls "$at/$2" | grep -qx "noble-.*-$(echo "$root" | cut -c8-19)"
		skopeo list-tags --tls-verify=false "docker://$at/site/app" | jq -e '.Tags == ["1"]'
	}
	check "$1: catalog and tags" listed "$1" "$2" "$(printf '%s\n' pause registry.example.org/site/app "$2" | sort | tr '\n' ' ')"

	by_crane() {
		for n in site/app registry.example.org/site/app "$2/images/site/app"; do
			same "digest of $n" "$(crane digest "$at/$n:1")" "$app"
		done
		crane validate --remote "$at/pause:3.9"
		crane copy "$at/site/app:1" "$to/crane-app:1"
		same app "$(crane digest "$to/crane-app:1")" "$app"
		crane copy "$at/pause@$pause" "$to/crane-pause:1"
		same pause "$(crane digest "$to/crane-pause:1")" "$pause"
		crane copy "$at/$2:noble" "$to/crane:noble"
		same root "$(crane digest "$to/crane:noble")" "$root"
		verified "$to/crane:noble"
	}
	check "$1: crane copies images and the snapshot, same digests" by_crane "$@"

	by_skopeo() {
		skopeo_copy --preserve-digests "docker://$at/site/app:1" "docker://$to/skopeo-app:1"
		same app "$(crane digest "$to/skopeo-app:1")" "$app"
		skopeo_copy "docker://$at/pause:3.9" "dir:$work/$1-pause"
		same pause "sha256:$(sha256sum <"$1-pause/manifest.json" | cut -d' ' -f1)" "$pause"
		skopeo_copy "docker://$at/$2@$root" "docker://$to/skopeo:noble"
		same root "$(crane digest "$to/skopeo:noble")" "$root"
		skopeo_copy "docker://$at/$2:noble" "oci-archive:$work/$1.tar:noble"
		verified "oci-archive:$work/$1.tar:noble"
	}
	check "$1: skopeo copies images and the snapshot, same digests" by_skopeo "$@"

	by_regctl() {
		regctl image copy --referrers "$at/site/app:1" "$to/regctl-app:1"
		same app "$(crane digest "$to/regctl-app:1")" "$app"
		same "artifacts about it" "$(regctl artifact list --format '{{range .Descriptors}}{{.ArtifactType}}{{end}}' "$to/regctl-app:1")" application/vnd.example.sbom
		regctl artifact get --subject "$at/site/app:1" --filter-artifact-type application/vnd.example.sbom | grep -q '{"bom": 1}'
		regctl image copy "$at/$2:noble" "$to/regctl:noble"
		same root "$(crane digest "$to/regctl:noble")" "$root"
		verified "$to/regctl:noble"
	}
	check "$1: regctl copies images with what is about them and the snapshot, same digests" by_regctl "$@"

	if command -v oras >/dev/null; then
		by_oras() {
			oras cp -r --from-plain-http --to-plain-http "$at/site/app:1" "$to/oras-app:1"
			same app "$(crane digest "$to/oras-app:1")" "$app"
			oras cp --from-plain-http --to-plain-http "$at/$2:noble" "$to/oras:noble"
			same root "$(crane digest "$to/oras:noble")" "$root"
		}
		check "$1: oras copies images and the snapshot, same digests" by_oras "$@"
	fi

	by_mmoci() {
		"$mmoci" copy "$at/$2:noble" "oci:$1-copy:noble" >copied.ref
		same root "$(sed 's/.*@//' copied.ref)" "$root"
		verified "oci:$1-copy:noble"
		skopeo inspect --raw "oci:$work/$1-copy:site/app:1" >index.json
		same app "sha256:$(sha256sum <index.json | cut -d' ' -f1)" "$app"
		"$mmoci" verify --remote "$at/$2:noble" --keyring "$sitekey"
		rm -rf "$1-debs"
		"$mmoci" pull "$at/$2:noble" --keyring "$sitekey" --extract hello -o "$1-debs" --host-status none >/dev/null
		ls "$1-debs"/hello_*.deb
	}
	check "$1: mmoci copies, verifies and pulls" by_mmoci "$@"

	by_curl() {
		layer=$(crane manifest "$at/site/app:1" --platform linux/amd64 | jq -r '.layers[0].digest')
		curl -sf -o whole "http://$at/v2/site/app/blobs/$layer"
		same layer "sha256:$(sha256sum <whole | cut -d' ' -f1)" "$layer"
		head -c 100000 whole >begun
		curl -sf -C - -o begun "http://$at/v2/site/app/blobs/$layer"
		cmp whole begun
		curl -sfI "http://$at/v2/site/app/manifests/1" | tr -d '\r' | grep -qix "docker-content-digest: $app"
		same POST "$(curl -s -o /dev/null -w '%{http_code}' -X POST "http://$at/v2/site/app/blobs/uploads/")" 405
	}
	check "$1: a blob is resumed, HEAD names the digest, nothing is taken" by_curl
}

serve_start layout --registry oci:stick:noble
at=${serve#http://}
out_of layout mirror
layout_pid=$pid

serve_start archive --registry oci-archive:stick.tar:noble
at=${serve#http://}
out_of archive mirror
stop "$pid"

serve_start kept --registry "$origin/site/mirror:noble"
at=${serve#http://}
out_of kept site/mirror

# --- what was asked for once stays while the registry is away, over a restart

away() {
	stop "$origin_pid"
	stop "$pid"
	serve_start kept --registry "$origin/site/mirror:noble" --wait
	at=${serve#http://}
	crane copy "$at/site/app:1" "$target/away/app:1"
	same app "$(crane digest "$target/away/app:1")" "$app"
	crane copy "$at/site/mirror:noble" "$target/away/mirror:noble"
	same root "$(crane digest "$target/away/mirror:noble")" "$root"
}
check "the registry away, the server started anew: images and snapshot come from its store" away
stop "$pid"

# --- rules and credentials

cat >policy.yaml <<'END'
default: allow
END
echo 'host:secret' >credentials
serve_start guarded --registry --policy policy.yaml --credentials credentials oci:stick:noble
at=${serve#http://}
regctl registry set --tls disabled --skip-check "$at"

logged_in() {
	refused 1 UNAUTHORIZED crane manifest "$at/site/app:1"
	crane auth login "$at" -u host -p secret
	same app "$(crane digest "$at/site/app:1")" "$app"
	skopeo inspect --tls-verify=false --creds host:secret --raw "docker://$at/site/app:1" >/dev/null
	not skopeo inspect --tls-verify=false --creds host:wrong --raw "docker://$at/site/app:1"
	regctl registry login "$at" -u host -p secret
	regctl manifest head "$at/site/app:1"
}
check "clients log in" logged_in

denied() {
	cat >policy.yaml.new <<-'END'
		rules:
		- {name: no-app, deny: "*", image: "registry.example.org/site/*", reason: "not before Monday"}
	END
	mv policy.yaml.new policy.yaml
	eventually refused 1 "DENIED: Denied by rule no-app: not before Monday" crane manifest "$at/site/app:1"
	refused 1 "not before Monday" crane manifest "$at/site/app@$app"
	refused 1 "not before Monday" regctl manifest get "$at/registry.example.org/site/app:1"
	refused 1 "not before Monday" crane copy "$at/mirror:noble" "$target/denied:noble"
	same pause "$(crane digest "$at/pause:3.9")" "$pause"
	jq -e 'select(.status == 403 and .rule == "no-app" and .image == "registry.example.org/site/app:1" and .repository == "site/app" and .reference == "1")' guarded.access | head -1 | grep -q .
	curl -sf -u host:secret "http://$at/metrics" | grep '^mmoci_denied_total{archive="v2",rule="[^"]*"} [1-9]'
	refused 1 "denied" "$mmoci" policy test --policy policy.yaml --ref oci:stick:noble registry.example.org/site/app pause.example:5000/pause:3.9
}
check "a rule denies an image with its reason, without a restart" denied
stop "$pid"
stop "$layout_pid"

# --- the tag moves

registry_start origin2 registry "$work/origin" "$origin"
serve_start moving --registry --follow 1s "$origin/site/mirror:noble"
at=${serve#http://}
moved() {
	crane copy "$at/site/app:1" "$target/moving/app:1"
	app 1
	new=$(crane digest "$origin/app:1")
	not same "the two images" "$new" "$app"
	"$mmoci" push -f mmoci.yaml "$origin/site/mirror:noble" >pushed.ref
	is_new() { [ "$(crane digest "$at/site/app:1")" = "$new" ]; }
	eventually is_new
	crane validate --remote "$at/site/app@$app"
	crane copy "$at/site/app@$app" "$target/moving/old:1"
	same "the old root, by digest" "$(crane digest "$at/site/mirror@$root")" "$root"
	tag=$(crane ls "$origin/site/mirror" | grep -- "-$(echo "$root" | cut -c8-19)\$")
	crane copy "$at/site/mirror:$tag" "$target/moving/mirror:old"
	same "the old snapshot, by its immutable tag" "$(crane digest "$target/moving/mirror:old")" "$root"
	crane copy "$at/site/mirror:noble" "$target/moving/mirror:noble"
	same "the new one" "$(crane digest "$target/moving/mirror:noble")" "$(sed 's/.*@//' pushed.ref)"
}
check "the tag moves: the new image by tag, the old one and its snapshot by digest and immutable tag" moved
