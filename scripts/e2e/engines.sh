# shellcheck shell=sh
# engines.sh: a stick with packages and container images, and hosts that have nothing, each in namespaces of its own; sourced
# after lib.sh by the tests with real engines.

engines_up=$E2E_CACHE/engines # real packages of the engines
busybox=registry.example.org/site/busybox:1 pod_image=registry.example.org/site/mmoci:v1
sitekey=$shared/keys/site.pub.asc

# busybox_image DIR: a layout with an image of two platforms, latest, made of the host's busybox-static.
busybox_image() {
	umoci init --layout "$1" >&2
	mkdir -p "$1.root" && cp "$(command -v busybox)" "$1.root/" && ln -sf busybox "$1.root/sh" && ln -sf busybox "$1.root/echo"
	for a in amd64 arm64; do
		umoci new --image "$1:$a" >&2
		umoci insert --image "$1:$a" "$1.root" /bin >&2
		umoci config --image "$1:$a" --architecture $a --config.cmd /bin/echo --config.cmd hello >&2
	done
	python3 - "$1" <<-'END'
		import hashlib, json, sys
		name = "org.opencontainers.image.ref.name"
		top = json.load(open(sys.argv[1] + "/index.json"))
		image = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
		for e in top["manifests"]:
		    e["platform"] = {"os": "linux", "architecture": e.pop("annotations")[name]}
		    image["manifests"].append(e)
		data = json.dumps(image).encode()
		digest = hashlib.sha256(data).hexdigest()
		open(sys.argv[1] + "/blobs/sha256/" + digest, "wb").write(data)
		top["manifests"] = [{"mediaType": image["mediaType"], "digest": "sha256:" + digest, "size": len(data), "annotations": {name: "latest"}}]
		json.dump(top, open(sys.argv[1] + "/index.json", "w"))
	END
}

# engines_stick: $shared/engines.tar, an oci-archive of docker.io, podman and what they need, with mmoci, its own image
# and a busybox; once a run. $digest is that of its bootstrap.sh.
engines_stick() {
	site
	once engines make_stick
	digest=$(sed -n 's,^mmoci/bootstrap.sh sha256:,,p' "$shared/engines.said")
}
make_stick() {
	"$E2E_TOP/scripts/real-upstream.sh" "$engines_up" docker.io podman crun catatonit >&2
	busybox_image "$shared/busybox"
	(cd "$E2E_TOP" && GOFLAGS='' "${GO:-go}" run ./internal/image/build -arch "$arch" -o "$shared/image" -tag mmoci:v1) >&2
	{
		sign_part
		echo "bundle: [$arch]"
		echo "images:"
		echo "- {image: 'oci:$shared/busybox:latest', as: $busybox}"
		echo "- {image: 'oci:$shared/image/image:v1', as: $pod_image, platforms: [linux/$arch]}"
		cat "$engines_up/mmoci.yaml"
	} >"$shared/engines.yaml"
	"$mmoci" push -f "$shared/engines.yaml" "oci-archive:$shared/engines.tar:day" 2>"$shared/engines.said" >&2
}

# bare_host NAME: $root is a minimal root with a stick in /media/stick, the site's key beside it and a systemctl that is a
# script; it runs in mount, process and network namespaces of its own, without an interface but loopback. $holder holds these.
bare_host() {
	base_root
	root=$work/$1
	cp -a --reflink=auto "$shared/base" "$root"
	mkdir -p "$root/proc" "$root/sys" "$root/run" "$root/media/stick"
	rm -rf "$root"/etc/apt/sources.list.d/*
	: >"$root/etc/resolv.conf"
	ln "$shared/engines.tar" "$root/media/stick.tar" 2>/dev/null || cp "$shared/engines.tar" "$root/media/stick.tar"
	cp "$sitekey" "$root/media/site.pub.asc"
	cat >"$root/usr/sbin/systemctl.e2e" <<-'END'
		#!/bin/sh
		echo "$*" >>/systemctl.log
		alive() { [ -e "$1" ] && readlink "/proc/$(cat "$1")/exe" >/dev/null; } # a zombie is not
		case "$*" in
		"start docker.service")
			! alive /dockerd.pid || exit 0
			for storage in overlay2 vfs; do # vfs, which copies the tree of each layer, where there is no overlay
				setsid dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=$storage >/dockerd.log 2>&1 &
				echo $! >/dockerd.pid
				while alive /dockerd.pid; do
					[ ! -S /run/docker.sock ] || exit 0
					sleep 0.2
				done
			done
			exit 1 ;;
		"restart mmoci-mirror.service" | "enable --now mmoci-mirror.service")
			if alive /serve.pid; then
				[ "$1" = restart ] || exit 0
				kill "$(cat /serve.pid)"
			fi
			# shellcheck disable=SC2046 # words
			set -- $(sed -n 's/^ExecStart=//p' /etc/systemd/system/mmoci-mirror.service)
			mkdir -p /var/lib/mmoci
			chown -R 61234 /var/lib/mmoci
			setsid setpriv --reuid=61234 --regid=61234 --clear-groups "$@" >>/serve.access 2>>/serve.log &
			echo $! >/serve.pid ;;
		"disable --now mmoci-mirror.service") kill "$(cat /serve.pid)" ;;
		esac
	END
	chmod 755 "$root/usr/sbin/systemctl.e2e"
	mkdir -p "$root/usr/local/bin"
	ln -sf /usr/sbin/systemctl.e2e "$root/usr/local/bin/systemctl"
	host_up
	on_host tar -C /media/stick -xf /media/stick.tar
}

# host_up: $root is a running host.
host_up() {
	rm -f "$root/held"
	start "holder" unshare -n -m -p -f --kill-child sh -eu -c '
		mount --make-rprivate /
		mount --bind "$1" "$1"
		ip link set lo up
		mount -t proc proc "$1/proc"
		mount -t sysfs sysfs "$1/sys"
		mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
		# crun refuses a version 1 with a version 2 beside it.
		! mountpoint -q "$1/sys/fs/cgroup/unified" || umount "$1/sys/fs/cgroup/unified"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs tmpfs "$1/run"
		mkdir -p "$1/run/systemd/system"
		: >"$1/held"
		while sleep 1; do :; done' holder "$root"
	eventually test -e "$root/held"
	holder=$(cat "/proc/$pid/task/$pid/children")
	holder=${holder% }
}

# host_gone: ends the last bare_host with all that runs on it.
host_gone() {
	kill -9 "$pid" # unshare takes no other signal; its child dies with it
	wait "$pid" 2>/dev/null || :
}

# on_host COMMAND..: on the last bare_host, with a proxy that is dead.
on_host() {
	nsenter -t "$holder" -m -n -p env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
		DEBIAN_FRONTEND=noninteractive http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 NO_PROXY=127.0.0.1 chroot "$root" "$@"
}

# bootstrapped VARIABLE..: the stick's bootstrap.sh; its lines, with their times, go to standard output, too.
bootstrapped() {
	on_host env deploy_with_mirror=yes MMOCI_KEY=/media/site.pub.asc "$@" sh /media/stick/mmoci/bootstrap.sh 2>boot.err >boot.out || {
		_status=$?
		cat boot.err
		return $_status
	}
	cat boot.err
	grep '^bootstrap.sh: ' boot.err >steps.txt
}

now() { date +%s%N; }
# seconds FROM: since then, in tenths.
seconds() { echo "$(($(now) - $1))" | awk '{ printf "%.1f\n", $1 / 1e9 }'; }
# within SECONDS TOOK: the limit is that of a machine with two cores of its own; where more wait for each core, it is as much longer, up to four times.
within() {
	awk -v limit="$1" -v took="$2" -v cores="$(nproc)" '{
		more = $1 / cores; if (more < 1) more = 1; if (more > 4) more = 4
		printf "%s s of %s s, load %s on %d cores\n", took, limit, $1, cores
		exit !(took <= limit * more)
	}' /proc/loadavg
}

# podman_here: podman and crun without systemd; the limits are those that a container may have here.
podman_here() {
	mkdir -p "$root/etc/containers"
	printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\nevents_logger = "file"\n' >"$root/etc/containers/containers.conf"
}

# ready URL: the mirror there is.
ready() { on_host mmoci host wait "$1" --timeout 30s; }

# kubelet FILE: of kubelet what a static pod needs: it runs what is put at FILE, by podman.
kubelet() {
	start kubelet nsenter -t "$holder" -m -n -p env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" sh -c '
		until [ -e "$0" ]; do sleep 0.1; done
		podman kube play "$0"' "$1"
}
