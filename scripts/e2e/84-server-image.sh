# 84-server-image.sh: the image that push makes of a snapshot, run by a real runtime: it is a mirror for apt.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
GO=${GO:-go}

# What runs the image is in a network namespace of its own, where it may listen where it says.
space=mmoci-84-$$
ip netns add $space && echo $space >>spaces
ip -n $space link set lo up
inside() { ip netns exec $space "$@"; }

registry_start registry registry "$work/blobs"
mkdir -p debs && (cd debs && apt-get -q download hello >&2)
"$mmoci" key new -o site.asc >&2
printf 'ref: %s/site/mirror:noble\nsign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' "$registry" >mmoci.yaml

# unpack REF NAME: the image as a bundle of a runtime, NAME, its network that of the namespace.
unpack() {
	rm -rf "$2" "$2.layout"
	skopeo copy -q --src-tls-verify=false --override-arch "$arch" "docker://$1" "oci:$work/$2.layout:x"
	umoci unpack --image "$work/$2.layout:x" "$work/$2"
	edit "$2" --arg net "/run/netns/$space" '.process.terminal = false | .process.noNewPrivileges = true | del(.process.capabilities)
		| (.linux.namespaces[] | select(.type == "network")).path = $net'
}
# edit NAME FILTER ARGUMENT..: changes a bundle's configuration by jq.
edit() {
	_bundle=$1
	shift
	jq "$@" "$_bundle/config.json" >"$_bundle/new.json"
	mv "$_bundle/new.json" "$_bundle/config.json"
}
# runs NAME ID: the bundle, in the foreground.
runs() { exec runc run --bundle "$work/$1" "mmoci-84-$2-$$"; }

made() {
	"$mmoci" push --date 2026-01-01 --server-image "$registry/site/mirror-server:noble" | tee references
	same "lines" 2 "$(wc -l <references)"
	"$mmoci" push --server-image "$registry/site/mirror-server:noble" | cmp - references
	digest=$(sed -n '2s/.*@//p' references)
	same "the tag's digest" "$digest" "$(crane digest --insecure "$registry/site/mirror-server:noble")"
	crane validate --insecure --remote "$registry/site/mirror-server:noble"
	skopeo inspect --config --tls-verify=false "docker://$registry/site/mirror-server:noble" | jq -e --arg ref "$(head -n 1 references)" '.config.Cmd[-1] == $ref and .config.User == "65532:65532"'
	# Of the image of the next snapshot the layer that names it is new, and nothing else.
	crane manifest --insecure --platform "linux/$arch" "$registry/site/mirror-server:noble" | jq -r '.layers[].digest' >layers
	same "layers" 2 "$(wc -l <layers)"
	"$mmoci" push --date 2026-01-02 --server-image "$registry/site/mirror-server:noble" | cmp - references # equal content: the date stays
	printf 'Package: alpha\nVersion: 1\nArchitecture: all\nMaintainer: Site <site@example.org>\nDescription: a\n' >control
	mkdir -p tree/DEBIAN && cp control tree/DEBIAN && dpkg-deb --root-owner-group -b tree debs/alpha.deb
	"$mmoci" push --date 2026-01-02 --server-image "$registry/site/mirror-server:noble" | tee references
	crane manifest --insecure --platform "linux/$arch" "$registry/site/mirror-server:noble" | jq -r '.layers[].digest' >layers.new
	same "the layer of the program" "$(head -n 1 layers)" "$(head -n 1 layers.new)"
	not cmp -s layers layers.new
}
check "push makes an image of the mirror, the same for the same snapshot; of the next one a layer is new" made

mirrors() {
	unpack "$registry/site/mirror-server:noble" server
	# The registry, at the same address for who is inside.
	registry_prefix="ip netns exec $space"
	# shellcheck disable=SC2086 # a prefix of words
	OTEL_TRACES_EXPORTER=none start inner $registry_prefix registry serve registry.yml
	runs server serve >server.access 2>server.log &
	pid=$!
	echo $pid >>pids
	eventually inside "$mmoci" check http://127.0.0.1:8000
	apt_own client
	inside curl -sf http://127.0.0.1:8000/setup/own.sources -o client/sources/own.sources
	own inside apt-get -q update 2>&1 | tee update.err
	updated update.err
	mkdir -p got && (cd got && own inside apt-get -q download hello alpha)
	cmp got/hello_*.deb debs/hello_*.deb
	jq -e 'select(.package == "hello" and .status == 200)' server.access
	# As whom, and what else the image can be asked.
	same "user" 65532 "$(stat -c %u "/proc/$(runc state "mmoci-84-serve-$$" | jq .pid)")"
	edit server '.process.args = ["/usr/bin/mmoci", "verify"]'
	(runs server verify) | grep '^own: '
	runc kill "mmoci-84-serve-$$" TERM
	wait "$pid"
}
check "a runtime runs it as nobody: apt updates and downloads from it, and it verifies its snapshot" mirrors

docker_runs() {
	# In the same namespace; by nsenter, for ip netns exec hides the control groups.
	start dockerd nsenter --net=/run/netns/$space dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root "$work/docker" \
		--exec-root "$work/docker.run" --pidfile "$work/docker.pid" -H "unix://$work/docker.sock"
	echo "$work/docker.run/netns/default" >>mounts
	DOCKER_HOST=unix://$work/docker.sock
	export DOCKER_HOST
	eventually docker info
	docker run -d --network host --name mirror "$(tail -n 1 references)"
	eventually inside "$mmoci" check http://127.0.0.1:8000
	inside curl -sf http://127.0.0.1:8000/own/pool/main/alpha/alpha_1_all.deb -o alpha.deb || docker logs mirror
	cmp alpha.deb debs/alpha.deb
	same user 65532:65532 "$(docker inspect -f '{{.Config.User}}' mirror)"
	docker rm -f mirror
	stop "$pid"
}
check "docker run of that reference is a mirror" docker_runs

# --- the image for CI runners

ci() {
	(cd "$E2E_TOP" && GOFLAGS='' $GO run ./internal/image/build -ci -arch "$arch" -o "$work/ci" -tag mmoci:v1 -push "$registry/site/mmoci:v1") | tee ci.ref
	grep -q "/site/mmoci:v1-ci@sha256:" ci.ref
	mkdir -p ci.debs
	(cd ci.debs && apt-get -q download busybox-static ca-certificates)
	(cd "$E2E_TOP" && GOFLAGS='' $GO run ./internal/image/build -ci -arch "$arch" -o "$work/again" -tag mmoci:v1 -debs "$work/ci.debs") | tee again.digest
	same "made again of the same .debs" "$(sed 's/.*@//' ci.ref)" "$(cat again.digest)"
	crane validate --insecure --remote "$registry/site/mmoci:v1-ci"
	unpack "$registry/site/mmoci:v1-ci" job
	# As a runner does it: what the job says goes to sh, with the workspace mounted.
	mkdir -p job.workspace
	cp mmoci.yaml site.asc site.pub.asc job.workspace && cp -R debs job.workspace
	printf 'set -eu\nmmoci --version\ntest "$(id -u)" = 0\nmmoci push --plan | sort | head -n 1\nenv | grep ^HOME=/root\n' >job.workspace/script
	edit job --arg dir "$work/job.workspace" '.process.args = ["sh", "-c", "cd /builds && sh -eu script"] | .mounts += [{destination: "/builds", type: "bind", source: $dir, options: ["bind", "rw"]}]'
	(runs job job) >job.out
	cat job.out
	head -n 1 job.out | grep '^mmoci '
	grep -x HOME=/root job.out
	# Each name is one that this busybox knows, and the certificates are those of ca-certificates.
	for link in job/rootfs/bin/*; do [ ! -L "$link" ] || basename "$link"; done | sort >links
	job/rootfs/bin/busybox --list | sort >applets
	same "unknown names" "" "$(comm -23 links applets)"
	same "certificates" "$(dpkg-deb -c ci.debs/ca-certificates_*.deb | LC_ALL=C grep -ac 'mozilla/.*\.crt$')" "$(grep -c BEGIN job/rootfs/etc/ssl/certs/ca-certificates.crt)"
	openssl crl2pkcs7 -nocrl -certfile job/rootfs/etc/ssl/certs/ca-certificates.crt | openssl pkcs7 -print_certs -noout | grep -c ^subject
}
check "the image for CI runners has a shell, which runs mmoci, and the CAs of the host's distribution" ci

# --- the samples that use them

# lines JOB: what a job of the site repository's .gitlab-ci.yml runs.
lines() {
	python3 -c 'import sys, yaml; print("\n".join(yaml.safe_load(open("workspace/.gitlab-ci.yml"))[sys.argv[1]]["script"]))' "$1"
}
# gitlab JOB: runs it in the image for CI runners, in a workspace that anybody may write, as that runner makes it.
gitlab() {
	chmod -R a+rwX workspace
	edit job --arg dir "$work/workspace" --arg lines "$(lines "$1")" '.process.args = ["sh", "-e", "-c", $lines] | .process.cwd = "/builds"
		| .process.env += ["CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main", "CI_COMMIT_REF_NAME=main", "MMOCI_SIGN_KEY=/builds/.site.asc", "REGISTRY_AUTH=/builds/.auth"]
		| (.mounts[] | select(.destination == "/builds")).source = $dir'
	(runs job "$1")
}
site_repository() {
	cp -R "$E2E_TOP/artifacts/samples/site" workspace
	sed -i "/^packages:/,\$d; s,^ref: [^/]*,ref: $registry," workspace/mmoci.yaml
	printf 'archives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >>workspace/mmoci.yaml
	cp -R debs workspace && cp site.pub.asc workspace/keys && cp site.asc workspace/.site.asc && echo '{}' >workspace/.auth
	rm -f workspace/debs/hello_* # there is no libc here
	"$mmoci" lock --date 2026-01-01 -f workspace/mmoci.yaml -o workspace/mmoci.lock
	gitlab propose
	grep 'The first snapshot' workspace/diff.md
	refused 4 main "$mmoci" ls "$registry/site/mirror:main"
	gitlab publish | tee published
	"$mmoci" ls "$registry/site/mirror:main" | grep '^alpha '
	# The next version.
	sed -i 's/^Version: 1/Version: 2/' tree/DEBIAN/control && dpkg-deb --root-owner-group -b tree workspace/debs/alpha.deb
	refused 1 'mmoci lock --update' gitlab propose
	"$mmoci" lock --update --date 2026-01-02 -f workspace/mmoci.yaml
	gitlab propose
	grep '^| alpha |.* | 1 | 2 |' workspace/diff.md
	gitlab publish
	"$mmoci" ls "$registry/site/mirror:main" | grep '^alpha  *2 '
}
check "the jobs of the sample site repository run in that image: proposed without a key, published after the merge" site_repository

build_sh() {
	# An upstream: what this site itself signs.
	"$mmoci" pull --insecure-unsigned -o upstream "$registry/site/mirror:main"
	mkdir -p sources/mini/own
	echo "$work/upstream/own $work/site.pub.asc own main" >sources/mini/own/source.txt
	echo 'alpha (>= 2)' >sources/mini/own/packages.txt
	built() {
		env PATH="${mmoci%/*}:$PATH" MIRROR_SOURCE_DIR="$work/sources" RELEASE_SIGN_KEY_PATH="$work/site.asc" DISTRO=ubuntu "$@"
	}
	built REGISTRY_URI="$registry/old/" "$E2E_TOP/artifacts/samples/build.sh" --plan
	refused 4 '' "$mmoci" ls "$registry/old/mini-mirror:latest-ubuntu"
	built REGISTRY_URI="$registry/old/" "$E2E_TOP/artifacts/samples/build.sh" | tee built.refs
	grep "^$registry/old/mini-mirror:latest-ubuntu@" built.refs
	grep "^$registry/old/mini-mirror-server:latest-ubuntu@" built.refs
	built REGISTRY_URI="$registry/old" IMAGE=mirror VERSION=2 SERVER_IMAGE=server "$E2E_TOP/artifacts/samples/build.sh" | grep "^$registry/old/server:2-ubuntu@"
	unpack "$registry/old/mini-mirror-server:latest-ubuntu" old
	edit old '.process.args |= map(sub(":8000$"; ":8001")) | .process.args += ["--follow=1s"]'
	runs old old >old.access 2>old.log &
	echo $! >>pids
	eventually inside "$mmoci" check http://127.0.0.1:8001
	inside curl -sf http://127.0.0.1:8001/mini/dists/own/InRelease | grep '^Origin:'
}
check "the mini-mirror's build script makes a snapshot of its sources/ tree, and the image that serves it" build_sh
