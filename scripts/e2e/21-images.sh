# 21-images.sh: container images that other programs made travel with a snapshot: one digest in every place and by every
# copier, found there by their names, whole, with what refers to them; and they go with the last snapshot that has them.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
export REGCTL_CONFIG="$work/regctl.json"
registry_start src registry "$work/src"
src=$registry
registry_start v3 registry "$work/v3"
v3=$registry
registry_start debian docker-registry "$work/debian"
debian=$registry
for r in "$src" "$v3" "$debian"; do regctl registry set --tls disabled --skip-check "$r"; done
skopeo_copy() { skopeo --insecure-policy copy -q --all --src-tls-verify=false --dest-tls-verify=false "$@"; }

# --- what other programs made: an image index of two platforms, an image of Docker's kind, an SBOM of the index

# layer NAME: a tarball with a file of this name.
layer() {
	mkdir -p layer.d
	head -c 200000 /dev/urandom >"layer.d/$1"
	tar --owner=0 --group=0 --mtime=@0 -C layer.d -cf "$1.tar" "$1"
}
# app DAY: team/app:1 for two platforms.
app() {
	layer "all-$1"
	for a in amd64 arm64; do
		layer "$a-$1"
		crane append --insecure --oci-empty-base -f "all-$1.tar,$a-$1.tar" -t "$src/team/app:$a"
		crane mutate --insecure --set-platform "linux/$a" "$src/team/app:$a" -t "$src/team/app:$a"
	done
	crane index append --insecure -m "$src/team/app:amd64" -m "$src/team/app:arm64" -t "$src/team/app:1"
	echo "{\"sbom\": \"$1\"}" | regctl artifact put --artifact-type application/vnd.example.sbom --subject "$src/team/app:1"
}
app one
layer tool
crane append --insecure -f tool.tar -t "$src/tool:1.0"
application=$(crane digest "$src/team/app:1")
tool=$(crane digest "$src/tool:1.0")

{
	sign_part
	cat <<-END
		images:
		- {image: "$src/team/app:1", as: "registry.example.org/team/app:1"}
		- {image: "$src/tool:1.0", as: "registry.example.org/tool:1.0"}
	END
	selection "$up" hello
} >mmoci.yaml

# --- one digest

pushed() { sed 's/.*@//' "$1"; }
into_each() {
	"$mmoci" push oci:layout:noble >layout.ref
	digest=$(pushed layout.ref)
	echo "$digest" >digest
	for to in oci-archive:stick.tar:noble "$v3/site/mirror:noble" "$debian/site/mirror:noble"; do
		"$mmoci" push "$to" >each.ref
		same "root digest in $to" "$(pushed each.ref)" "$digest"
	done
}
check "one digest in a layout, an oci-archive, distribution v3 and Debian's docker-registry" into_each
digest=$(cat digest)

# raw REFERENCE: the digest of the manifest that skopeo reads there.
raw() { echo "sha256:$(skopeo inspect --tls-verify=false --raw "$1" | sha256sum | cut -d' ' -f1)"; }

found_by_name() {
	for place in oci:layout oci-archive:stick.tar; do
		same "app in $place" "$(raw "$place:team/app:1")" "$application"
		same "as mmoci reads it" "$("$mmoci" tag digest "$place:team/app:1")" "$application"
		same "tool in $place" "$("$mmoci" tag digest "$place:tool:1.0")" "$tool" # skopeo finds no image of Docker's kind in a layout
	done
	for r in "$v3" "$debian"; do
		same "app at $r" "$(crane digest "$r/site/mirror/images/team/app:1")" "$application"
		same "tool at $r" "$(crane digest "$r/site/mirror/images/tool:1.0")" "$tool"
		crane validate --insecure --remote "$r/site/mirror/images/team/app:1"
		crane validate --insecure --remote "$r/site/mirror/images/tool:1.0"
		same "the immutable tag" "$(crane digest "$r/site/mirror/images/tool:1.0-$(echo "$tool" | cut -c8-19)")" "$tool"
		same "platforms" 2 "$(crane manifest "$r/site/mirror/images/team/app:1" | jq '.manifests | length')"
	done
}
check "skopeo and crane find the images by name, whole, with both platforms" found_by_name

mounted() {
	grep -c 'POST /v2/site/mirror/images/.*mount=.* 201' v3.log
	not grep -E '"(PATCH|PUT) /v2/site/mirror/images/[^ ]*/blobs/' v3.log
}
check "no layer is sent twice: it is mounted" mounted

referrers() {
	for r in "$v3" "$debian"; do
		regctl artifact list --format '{{range .Descriptors}}{{.ArtifactType}}{{end}}' "$r/site/mirror/images/team/app:1" >list
		cat list
		same "what refers to it at $r" application/vnd.example.sbom "$(cat list)"
	done
	oras discover --plain-http --format json "$v3/site/mirror/images/team/app:1" | tee discover.json
	grep -q application/vnd.example.sbom discover.json
	"$mmoci" verify oci:layout:team/app:1 | tee verified
	grep -q '^referrer sha256:' verified
	"$mmoci" verify --remote "$v3/site/mirror/images/team/app:1" | tee verified
	grep -q '^referrer sha256:' verified
}
check "the SBOM refers to the image there, as regctl and oras list it" referrers

# --- copies by others keep it all

# arrived REF [documents]: the same root, proved, and the images in it come out of it again.
arrived() {
	same "root digest of $1" "$("$mmoci" tag digest "$1")" "$digest"
	"$mmoci" verify "$1" --keyring "debian=$up/keyring-debian.gpg" --require upstream >verified
	cat verified
	grep -q '^image registry.example.org/team/app:1: ' verified
	[ $# = 1 ] || return 0
	rm -rf back
	"$mmoci" copy "$1" oci:back:noble
	same "app out of $1" "$(raw oci:back:team/app:1)" "$application"
}
by_skopeo() {
	skopeo_copy "docker://$v3/site/mirror:noble" "docker://$debian/skopeo:noble"
	arrived "$debian/skopeo:noble"
	skopeo_copy oci-archive:stick.tar:noble oci:by-skopeo:noble
	arrived oci:by-skopeo:noble
}
check "skopeo copies the snapshot with its images" by_skopeo
by_crane() {
	crane copy --insecure "$debian/site/mirror:noble" "$v3/crane:noble"
	arrived "$v3/crane:noble" documents
}
check "crane does" by_crane
by_regctl() {
	regctl image copy "$v3/site/mirror:noble" "$debian/regctl:noble"
	arrived "$debian/regctl:noble" documents
}
check "regctl does" by_regctl
by_oras() {
	oras copy --from-plain-http --to-plain-http "$v3/site/mirror:noble" "$debian/oras:noble"
	arrived "$debian/oras:noble" documents
	oras copy --from-oci-layout --to-plain-http ./layout:noble "$v3/oras:noble"
	arrived "$v3/oras:noble"
}
check "oras does" by_oras

# --- images by themselves

copied() {
	"$mmoci" copy "$src/team/app:1" "$debian/mine/app:1"
	same "in a registry" "$(crane digest "$debian/mine/app:1")" "$application"
	crane validate --insecure --remote "$debian/mine/app:1"
	"$mmoci" copy "$debian/mine/app:1" oci:images:team/app:1
	"$mmoci" copy "$src/tool:1.0" oci:images:tool:1.0
	same "in a layout" "$(raw oci:images:team/app:1)" "$application"
	"$mmoci" copy oci:images:team/app:1 oci-archive:app.tar:team/app:1
	skopeo_copy oci-archive:app.tar:team/app:1 "docker://$v3/by/skopeo:1" # which writes an index of crane's anew
	crane validate --insecure --remote "$v3/by/skopeo:1"
	same "platforms by skopeo" 2 "$(crane manifest "$v3/by/skopeo:1" | jq '.manifests | length')"
	"$mmoci" copy oci-archive:app.tar:team/app:1 "$v3/mine/app:1"
	regctl artifact list "$v3/mine/app:1" | grep -q application/vnd.example.sbom
	"$mmoci" tag promote "$v3/mine/app:1" prod
	same "promoted" "$(crane digest "$v3/mine/app:prod")" "$application"
}
check "an image goes from place to place, bytes unchanged, with its SBOM" copied

from_their_layouts() {
	skopeo_copy "docker://$src/team/app:1" oci:of-skopeo:team/app:1 # which writes the index anew
	regctl image copy --referrers "$src/team/app:1" ocidir://of-regctl:1
	oras copy -r --from-plain-http --to-oci-layout "$src/team/app:1" of-oras:1
	"$mmoci" copy oci:of-skopeo:team/app:1 "$v3/of/skopeo:1"
	for of in regctl oras; do
		"$mmoci" copy "oci:of-$of:1" "$v3/of/$of:1"
		regctl artifact list "$v3/of/$of:1" | grep -q application/vnd.example.sbom || { echo "the SBOM was lost from the layout of $of"; return 1; }
	done
	same "from the layout of skopeo" "$(crane digest "$v3/of/skopeo:1")" "$(raw oci:of-skopeo:team/app:1)"
	for of in regctl oras; do
		same "from the layout of $of" "$(crane digest "$v3/of/$of:1")" "$application"
	done
}
check "out of the layouts of skopeo, regctl and oras, with what refers to it where they keep it" from_their_layouts

one_platform() {
	sed 's,as: "registry.example.org/team/app:1"},platforms: [linux/arm64]&,; s,platforms: \[linux/arm64\]as:,platforms: [linux/arm64]\, as:,' mmoci.yaml >cut.yaml
	grep platforms: cut.yaml
	"$mmoci" push -f cut.yaml "$v3/cut/mirror:noble"
	crane manifest "$v3/cut/mirror/images/team/app:1" | jq -r '.manifests[].platform.architecture' >platforms
	same "platforms" arm64 "$(cat platforms)"
	crane validate --insecure --remote "$v3/cut/mirror/images/team/app:1"
	"$mmoci" push -f cut.yaml oci:cut:noble
	same "in a layout" "$(raw oci:cut:team/app:1)" "$(crane digest "$v3/cut/mirror/images/team/app:1")"
}
check "cut to one platform it has one, and another digest, the same everywhere" one_platform

# --- prune

gone() {
	app two
	next=$(crane digest "$src/team/app:1")
	for place in "$v3/site/mirror:noble" "$debian/site/mirror:noble" oci:layout:noble; do
		"$mmoci" push "$place"
		"$mmoci" tag prune "$place" --keep-last 1 --min-age 0s
	done
	for r in "$v3" "$debian"; do
		same "the next day's at $r" "$(crane digest "$r/site/mirror/images/team/app:1")" "$next"
		crane ls --insecure "$r/site/mirror/images/team/app" | tee tags
		not grep -q "$(echo "$application" | cut -c8-19)" tags
		grep -q "$(echo "$next" | cut -c8-19)" tags
		same "the other image at $r" "$(crane digest "$r/site/mirror/images/tool:1.0")" "$tool"
	done
	same "in the layout" "$(raw oci:layout:team/app:1)" "$next"
	[ ! -e "layout/blobs/sha256/${application#sha256:}" ]
	"$mmoci" verify oci:layout:noble --keyring "debian=$up/keyring-debian.gpg"
}
check "prune takes the images that no snapshot has any more, in registries and a layout, and no others" gone

collected() {
	registry garbage-collect --delete-untagged "$work/v3.yml" >collect.log 2>&1 || { tail collect.log; return 1; }
	crane validate --insecure --remote "$v3/site/mirror/images/team/app:1"
	"$mmoci" verify "$v3/site/mirror:noble" --keyring "debian=$up/keyring-debian.gpg"
	"$mmoci" verify "$v3/site/mirror/images/team/app:1"
}
check "after the registry's own collection what is named is whole" collected
