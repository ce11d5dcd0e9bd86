# 65-engines.sh: from a stick to a running container, without a network: real docker, containerd and podman take the images
# of a stick, and of serve's registry, and run them; one command to docker run, one to a static pod that is ready.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/engines.sh"

engines_stick

# --- docker

bare_host docker
to_docker() {
	began=$(now)
	bootstrapped
	on_host docker run --rm --network none $busybox | tee hello.txt
	seconds "$began" >took.docker
	grep -x hello hello.txt
	sed 's/^/     /' steps.txt >steps.docker
	echo "     from the stick to docker run: $(cat took.docker) s" >>steps.docker
	healthy
}
check "one command from the stick to docker run, without a network" to_docker
cat steps.docker || :
check "it takes at most 30 s" within 30 "$(cat took.docker)"

to_docker_again() {
	bootstrapped
	same "output" "" "$(cat boot.out)"
	grep -x "docker has $busybox" boot.err
	not grep ' takes ' boot.err
	on_host apt-get -q update 2>&1 | tee update.err
	updated update.err
}
check "again: nothing is imported twice, and apt is content" to_docker_again

# The mirror is a registry, too: docker by its address, containerd by hosts.toml.
on_host sh -c 'containerd >/containerd.log 2>&1 &'
by_registry() {
	bootstrapped MMOCI_REGISTRY=yes MMOCI_ENGINE=docker
	# Engines ask for no signature: the server does.
	grep -F -- ' -f /etc/mmoci/mirror.yaml ' "$root/etc/systemd/system/mmoci-mirror.service"
	grep -F 'trust: [/etc/mmoci/site.asc]' "$root/etc/mmoci/mirror.yaml"
	on_host docker image rm $busybox
	on_host docker pull -q 127.0.0.1:8000/site/busybox:1
	on_host docker run --rm --network none 127.0.0.1:8000/site/busybox:1 | grep -x hello
	grep -F '[host."http://127.0.0.1:8000"]' "$root/etc/containerd/certs.d/registry.example.org/hosts.toml"
	on_host ctr -n k8s.io images pull --hosts-dir /etc/containerd/certs.d $busybox
	on_host ctr -n k8s.io run --rm $busybox pulled | grep -x hello
	on_host ctr -n k8s.io images rm --sync $busybox
}
check "docker and containerd pull from serve's registry" by_registry

imported() { # ENGINE: what it has of the stick's
	case $1 in
	docker) on_host docker image ls --format '{{.Repository}}:{{.Tag}}' ;;
	containerd) on_host ctr -n k8s.io images ls -q ;;
	podman) on_host podman image ls --format '{{.Repository}}:{{.Tag}}' ;;
	esac | grep '^registry.example.org/' || :
}
images() { on_host mmoci host images --keyring /media/site.pub.asc "$@"; } # ARGUMENT..

by_containerd() {
	images oci:/media/stick:day --engine containerd --wait 10s | tee out.txt
	same "printed" "$busybox $pod_image" "$(tr '\n' ' ' <out.txt | sed 's/ $//')"
	on_host ctr -n k8s.io run --rm $busybox imported | grep -x hello
	on_host ctr -n k8s.io images ls "name==$busybox" | grep "$(jq -r '.manifests[0].digest' "$shared/busybox/index.json")"
}
check "containerd takes the stick's images, by the digests of the stick, and runs them" by_containerd

# A byte of the busybox layer is another: nothing of it is taken, by none of the engines; then the right one is.
broken() { # ENGINE..
	rm -rf "$root/media/broken" && cp -a "$root/media/stick" "$root/media/broken"
	layer=$(jq -r '.manifests[0].digest' "$shared/busybox/index.json" | cut -d: -f2)
	layer=$(jq -r ".manifests[] | select(.platform.architecture == \"$arch\") | .digest" "$shared/busybox/blobs/sha256/$layer" | cut -d: -f2)
	layer=$(jq -r '.layers[0].digest' "$shared/busybox/blobs/sha256/$layer" | cut -d: -f2)
	python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(500000); b = f.read(1); f.seek(500000); f.write(bytes([b[0] ^ 1]))' "$root/media/broken/blobs/sha256/$layer"
	for e; do
		case $e in
		containerd) on_host ctr -n k8s.io images rm --sync $busybox ;;
		*) on_host $e image rm $busybox ;;
		esac || :
		refused 3 "blob sha256:$layer" images oci:/media/broken:day site/busybox:1 --engine $e
		same "lines" 1 "$(wc -l <refused.err)"
		not sh -c 'echo "$1" | grep busybox' - "$(imported $e)"
		images oci:/media/stick:day site/busybox:1 --engine $e
	done
	rm -rf "$root/media/broken"
}
check "wrong bytes: exit 3, docker and containerd take nothing, and the right ones afterwards" broken docker containerd

# Undo: what was there before stays, what a container uses stays and is named; then all is as it was.
undone() {
	on_host docker tag $busybox registry.example.org/other:1
	on_host docker create --name keeps --network none $busybox
	on_host ctr -n k8s.io containers create $busybox keeps
	on_host mmoci host undo 2>undo.err
	cat undo.err
	same "said" 2 "$(grep -c "kept: $busybox: container .* uses it" undo.err)"
	same "left in docker" "registry.example.org/other:1 $busybox" "$(imported docker | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
	same "left in containerd" "$busybox" "$(imported containerd)"
	on_host docker rm keeps
	on_host ctr -n k8s.io containers rm keeps
	on_host mmoci host undo
	same "left in docker" "registry.example.org/other:1" "$(imported docker)"
	same "left in containerd" "" "$(on_host ctr -n k8s.io images ls -q)"
	same "files" "" "$(find "$root/etc/apt/sources.list.d" "$root/etc/containerd" "$root/etc/containers" "$root/etc/systemd/system" "$root/etc/mmoci" -type f -newer "$root/media/site.pub.asc" 2>/dev/null | xargs -r grep -l mmoci)"
	grep -x 'disable --now mmoci-mirror.service' "$root/systemctl.log"
}
check "host undo takes back what was done, and no more" undone

# Upstream's keys vouch for packages, and for no image.
by_upstreams_keys() {
	k=/usr/share/keyrings/debian-archive-keyring.gpg
	on_host env deploy_with_mirror=yes MMOCI_KEYRINGS="debian=$k debian-security=$k" sh /media/stick/mmoci/bootstrap.sh 2>said.txt
	cat said.txt
	grep 'nothing vouches for the container images' said.txt
	grep 'bootstrap.sh: the images of the snapshot were not imported' said.txt
	same "in docker" "registry.example.org/other:1" "$(imported docker)"
	on_host mmoci host undo
}
check "with upstream's keys alone the packages come, and the images stay on the stick" by_upstreams_keys

# The disk of docker is full: one line, and a rerun completes.
on_full_disk() {
	on_host sh -c 'kill $(cat /dockerd.pid); while [ -e /run/docker.pid ]; do sleep 0.1; done; mount -t tmpfs -o size=16m tmpfs /var/lib/docker'
	on_host systemctl start docker.service
	refused 1 'no space left on device' images oci:/media/stick:day --engine docker --wait 20s
	same "lines" 1 "$(grep -c '^mmoci: ' refused.err)"
	not sh -c 'echo "$1" | grep mmoci:v1' - "$(imported docker)"
	on_host mount -o remount,size=200m /var/lib/docker
	images oci:/media/stick:day --engine docker
	on_host docker run --rm --network none $busybox | grep -x hello
}
check "docker's disk is full: one clear line, exit 1; with room the rerun completes" on_full_disk
host_gone

# --- podman: the static pod

bare_host pod
podman_here
kubelet /etc/kubernetes/manifests/mmoci.yaml
to_pod() {
	began=$(now)
	bootstrapped MMOCI_PACKAGES="docker.io podman crun catatonit" MMOCI_ENGINE=podman MMOCI_SERVE=pod MMOCI_REGISTRY=yes
	seconds "$began" >took.pod
	sed 's/^/     /' steps.txt >steps.pod
	echo "     from the stick to the static pod ready: $(cat took.pod) s" >>steps.pod
	grep -F "image: \"$pod_image\"" "$root/etc/kubernetes/manifests/mmoci.yaml"
	on_host podman ps --format '{{.Image}} {{.Command}}' | grep -F "$pod_image serve"
	on_host apt-get -q update 2>&1 | tee update.err
	updated update.err
}
check "one command from the stick to a static pod that is ready and serves apt, its image from the stick" to_pod
cat steps.pod || :
check "it takes at most 60 s" within 60 "$(cat took.pod)"

by_podman() {
	on_host podman run --rm --network none $busybox | grep -x hello
	on_host podman image rm $busybox
	on_host podman pull -q $busybox # registry.example.org is not to be reached; the drop-in leads to the pod
	on_host podman run --rm --network none $busybox | grep -x hello
}
check "podman runs the stick's image, and pulls it from the pod's registry by its own name" by_podman
check "wrong bytes: podman takes nothing" broken podman

pod_undone() {
	on_host mmoci host undo 2>undo.err
	cat undo.err
	grep "kept: $pod_image: container .* of podman uses it" undo.err
	! [ -e "$root/etc/kubernetes/manifests/mmoci.yaml" ]
	on_host podman pod rm -f mmoci # kubelet's part
	on_host mmoci host undo
	same "left in podman" "" "$(imported podman)"
}
check "host undo takes the static pod and its images back" pod_undone

# artifacts/static-pod.yaml itself.
by_artifact() {
	images oci:/media/stick:day --engine podman site/mmoci:v1
	mkdir -p "$root/var/lib/mmoci" "$root/etc/mmoci"
	on_host mmoci copy -q oci:/media/stick:day oci:/var/lib/mmoci/stick:day
	chown -R 65532:65532 "$root/var/lib/mmoci"
	printf 'ref: oci:/var/lib/mmoci/stick:day\n' >"$root/etc/mmoci/mmoci.yaml"
	printf 'rules: []\n' >"$root/etc/mmoci/policy.yaml"
	cp "$E2E_TOP/artifacts/static-pod.yaml" "$root/static-pod.yaml"
	on_host podman kube play /static-pod.yaml
	ready http://127.0.0.1:8000
	on_host mmoci host sources http://127.0.0.1:8000 --keyring /media/site.pub.asc
	on_host apt-get -q update 2>&1 | tee update.err
	updated update.err
}
check "podman kube play artifacts/static-pod.yaml becomes ready and serves apt" by_artifact
