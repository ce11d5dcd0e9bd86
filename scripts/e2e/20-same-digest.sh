# 20-same-digest.sh: one input, one digest, wherever and whenever it is pushed and by whomever it is copied.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
docker=oci:$shared/layout:docker
digest=$(sed 's/.*@//' "$shared/docker.ref")
nginx_start upstream "$up"
{ sign_part && selection "$nginx" docker.io; } >http.yaml
{ sign_part && selection "$up" docker.io; } >directory.yaml

# The second push a minute and more after the first, while everything else runs.
age=$(($(date +%s) - $(stat -c %Y "$shared/docker.ref")))
(sleep $((age < 61 ? 61 - age : 0)) && exec "$mmoci" push -f http.yaml oci:later:docker) >later.ref 2>later.log &
later=$!
echo $later >>pids

registry_start v3 registry "$work/v3"
v3=$registry
registry_start other registry "$work/other"
other=$registry

# digest_of REF: what printed it, or what the registry answers.
pushed() { sed 's/.*@//' "$1"; }

into_layout() {
	(umask 077 && TZ=Pacific/Auckland GOMAXPROCS=1 LC_ALL=C "$mmoci" push -f directory.yaml oci:elsewhere:docker) >elsewhere.ref
	same "root digest" "$(pushed elsewhere.ref)" "$digest"
}
check "other TZ, umask, GOMAXPROCS and upstream URL, into a layout: the same digest" into_layout

into_registry() {
	TZ=America/St_Johns "$mmoci" push -f http.yaml "$v3/site/mirror:docker" >v3.ref
	same "root digest" "$(pushed v3.ref)" "$digest"
	same "the registry's" "$(crane digest "$v3/site/mirror:docker")" "$digest"
}
check "into distribution v3: the same digest" into_registry

# --- go-containerregistry reads all of it

validated() {
	crane validate --remote "$v3/site/mirror:docker"
}
check "crane validate" validated

each_by_crane() {
	crane manifest "$v3/site/mirror:docker" >root.json
	same "root" "sha256:$(sha256sum <root.json | cut -d' ' -f1)" "$digest"
	jq -r '.manifests[].digest' root.json >children.txt
	while read -r d; do
		crane manifest "$v3/site/mirror@$d" >child.json
		same "manifest" "sha256:$(sha256sum <child.json | cut -d' ' -f1)" "$d"
		jq -r '.config.digest, .layers[].digest' child.json
	done <children.txt | sort -u >blobs.txt
	while read -r d; do
		same "blob" "sha256:$(crane blob "$v3/site/mirror@$d" | sha256sum | cut -d' ' -f1)" "$d"
	done <blobs.txt
	wc -l <blobs.txt
}
check "crane reads every manifest and blob, each hashes to its digest" each_by_crane

# --- copies

skopeo_copy() { skopeo --insecure-policy copy -q --all --src-tls-verify=false --dest-tls-verify=false "$@"; }

# arrived REF: at the registry, the same root, and all of it.
arrived() {
	same "root digest of $1" "$(crane digest "$1")" "$digest"
	verified "$1"
}
verified() {
	"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" \
		--keyring "debian-security=$up/keyring-debian-security.gpg" --require upstream
}

by_skopeo() {
	skopeo_copy "docker://$v3/site/mirror:docker" "docker://$other/skopeo:docker"
	arrived "$other/skopeo:docker"
	skopeo_copy "docker://$other/skopeo:docker" "docker://$v3/skopeo-back:docker"
	arrived "$v3/skopeo-back:docker"
}
check "skopeo copy --all there and back" by_skopeo

by_skopeo_preserving() {
	skopeo_copy --preserve-digests "docker://$v3/site/mirror:docker" "docker://$other/preserved:docker"
	arrived "$other/preserved:docker"
}
check "skopeo copy --all --preserve-digests" by_skopeo_preserving

by_archive() {
	skopeo_copy "docker://$v3/site/mirror:docker" "oci-archive:$work/docker.tar:docker"
	verified "oci-archive:$work/docker.tar:docker"
	skopeo_copy "oci-archive:$work/docker.tar:docker" "docker://$other/archive:docker"
	arrived "$other/archive:docker"
	rm docker.tar
}
check "skopeo copy through an oci-archive" by_archive

by_layout() {
	skopeo_copy "oci:$shared/layout:docker" "docker://$other/layout:docker"
	arrived "$other/layout:docker"
}
check "skopeo copy out of a layout that mmoci wrote" by_layout

by_crane() {
	crane copy "$v3/site/mirror:docker" "$other/crane:docker"
	arrived "$other/crane:docker"
	crane copy "$other/crane:docker" "$v3/crane-back:docker"
	arrived "$v3/crane-back:docker"
}
check "crane copy there and back" by_crane

by_regctl() {
	export REGCTL_CONFIG="$work/regctl.json"
	for r in "$v3" "$other"; do regctl registry set --tls disabled --skip-check "$r"; done
	regctl image copy "$v3/site/mirror:docker" "$other/regctl:docker"
	arrived "$other/regctl:docker"
	regctl image copy "$other/regctl:docker" "$v3/regctl-back:docker"
	arrived "$v3/regctl-back:docker"
}
check "regctl image copy there and back" by_regctl

a_minute_later() {
	while [ ! -s later.ref ] && kill -0 $later 2>/dev/null; do sleep 0.5; done
	cat later.log
	same "root digest" "$(pushed later.ref)" "$digest"
}
check "the same again a minute later" a_minute_later
