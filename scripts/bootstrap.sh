#!/bin/sh
# bootstrap.sh: packages for a host that has nothing, from the site's mirror.
#
# It runs as root, so something must vouch for it: its digest, which "mmoci push"
# and "mmoci copy" print, typed on the host (echo "DIGEST  mmoci/bootstrap.sh" | sha256sum -c).
# It knows the digests of the programs that it came with. A program that is
# installed stays until it has itself verified, by the site's key, the snapshot that brings another.
#
# The fragment for genesis and join scripts: source its variables, run it as
# root. Without deploy_with_mirror it does nothing, and the distribution's apt
# stays as it is. With it: mmoci installs the packages (a container runtime), puts
# the images that the snapshot carries into it, serves the mirror on this host from
# then on, and apt is pointed there. It may be run again at any time;
# "mmoci host undo" takes back all but packages, the copied snapshot and mmoci.
#
#   deploy_with_mirror  yes: do it
#   MMOCI_REF           the snapshot (default: the OCI layout that this script lies in). One that is a file or
#                       directory, on a stick perhaps, is copied to /var/lib/mmoci-mirror to be served from there
#   MMOCI_KEEP          how many snapshots of its tag stay in there, the newest (default: 2)
#   MMOCI_STORE_SIZE    how much is kept of one that is at a registry (default: 20G; the rest is fetched again)
#   MMOCI_KEY           the site's public key, a file; or
#   MMOCI_KEYRINGS      upstream's keys, PREFIX=FILE with blanks between them (Debian's are on every Debian host)
#   MMOCI_VIA           places to try before that of MMOCI_REF
#   MMOCI_PACKAGES      what to install (default: docker.io)
#   MMOCI_BIN           mmoci (default: the installed one, else the one beside this script)
#   MMOCI_URL           else it is fetched from the mirror at that URL
#   MMOCI_SHA256        its digest (default: what this script knows of the programs that it came with)
#   MMOCI_FLAGS         more flags for mmoci install and serve, such as --plain-http, without blanks in their values
#   MMOCI_SERVE         unit: a systemd unit; pod: a static pod; no (default: unit where systemd runs, else no)
#   MMOCI_LISTEN        address to serve at (default: 127.0.0.1:8000)
#   MMOCI_IMAGES        images to import: yes: all; no; or their names (default: all, if a container engine answers)
#   MMOCI_ENGINE        docker, containerd or podman (default: the first of these that answers)
#   MMOCI_REGISTRY      yes: the mirror is a registry of these images, too, and containerd and podman ask it first;
#                       with MMOCI_KEY it serves only what that key signed (or as trust: in /etc/mmoci/mmoci.yaml says)
#   MMOCI_IMAGE, MMOCI_MANIFESTS  of the static pod: image (default: the one called ../mmoci that was imported),
#                       directory (default: /etc/kubernetes/manifests)
#   MMOCI_ALONE         yes: move all other apt sources aside
set -eu
umask 022 # the mirror is served by a user who is nobody

say() { printf 'bootstrap.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
began=$(date +%s)
took() { say "$1: $(($(date +%s) - began)) s"; began=$(date +%s); } # STEP, which ends here
yes() { case $1 in '' | 0 | no | false | No | False) return 1 ;; esac; }

if ! yes "${deploy_with_mirror:-}"; then
	say "deploy_with_mirror is not set: the distribution's apt stays as it is"
	exit 0
fi
[ "$(id -u)" = 0 ] || die "needs root"
[ -z "${MMOCI_MIRRORS:-}" ] || die "MMOCI_MIRRORS is called MMOCI_VIA now"

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
arch=$(/usr/bin/dpkg --print-architecture) || die "needs dpkg: this is no Debian or Ubuntu" # by its path: busybox has one of its own
packages=${MMOCI_PACKAGES:-docker.io}
listen=${MMOCI_LISTEN:-127.0.0.1:8000}
flags=${MMOCI_FLAGS:-}

# The programs that this script came with, ARCHITECTURE:SHA256; filled in where a snapshot bundles them.
programs=''

# 1. The snapshot, and what it is believed by.
ref=${MMOCI_REF:-}
if [ -z "$ref" ] && [ -f "$here/../oci-layout" ]; then
	layout=$(CDPATH='' cd -- "$here/.." && pwd)
	# A container image has its whole name beside, what refers to one is called sha256-HEX.sig or the like; the other entry is the snapshot.
	tag=$(tr '{' '\n' <"$layout/index.json" | grep -v -e '"io.containerd.image.name"' -e ': *"sha256-[0-9a-f]\{64\}' | sed -n 's/.*"org.opencontainers.image.ref.name": *"\([^"]*\)".*/\1/p' | head -n 1)
	ref=oci:$layout:$tag
fi
[ -n "$ref" ] || die "no snapshot: give MMOCI_REF"
absolute() { # REF, PREFIX=FILE or FILE: the same from any directory
	case $1 in
	oci:/* | oci-archive:/* | /* | *=/*) echo "$1" ;;
	oci:* | oci-archive:*) echo "${1%%:*}:$PWD/${1#*:}" ;;
	*=*) echo "${1%%=*}=$PWD/${1#*=}" ;;
	*) if [ -e "$1" ]; then echo "$PWD/$1"; else echo "$1"; fi ;; # a reference to a registry is no file
	esac
}
ref=$(absolute "$ref")
set --
key=
if [ -n "${MMOCI_KEY:-}" ]; then
	key=$(absolute "$MMOCI_KEY")
	set -- --keyring "$key"
fi
for k in ${MMOCI_KEYRINGS:-}; do set -- "$@" --keyring "$(absolute "$k")"; done
via=
for m in ${MMOCI_VIA:-}; do via="$via --via $(absolute "$m")"; done
[ -z "${MMOCI_BIN:-}" ] || MMOCI_BIN=$(absolute "$MMOCI_BIN")
cd / # a mmoci.yaml that lies beside the stick's files must not be taken for the host's

# 2. The program.
temp='' temp2='' temp3=''
trap 'rm -f ${temp:+"$temp"} ${temp2:+"$temp2"} ${temp3:+"$temp3"}' EXIT
sum=${MMOCI_SHA256:-}
for p in $programs; do
	case $p in "$arch:"*) sum=${sum:-${p#*:}} ;; esac
done
hashes() { [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]; } # FILE SHA256
aside() { # FILE: $temp, a copy that whoever holds the stick cannot change any more
	temp=$(mktemp)
	cp "$1" "$temp"
}
# vouched: the digest of the program for this host that the snapshot bundles, as the installed mmoci says once it has
# verified the snapshot; empty where only the packages are signed, by upstream: that vouches for no program.
vouched() {
	if [ -z "$key" ]; then case $ref in *@sha256:*) ;; *) return 0 ;; esac; fi
	# shellcheck disable=SC2086 # a list
	report=$("$bin" verify -q --remote --report $flags "$@" "$ref") || return 1
	printf '%s\n' "$report" | sed -n "s,^mmoci/$arch	sha256:\([0-9a-f]\{64\}\)	.*,\1,p"
}
bin=${MMOCI_BIN:-$(command -v mmoci || :)}
[ -n "$bin" ] || ! [ -x /usr/local/bin/mmoci ] || bin=/usr/local/bin/mmoci
new=
if [ -n "${MMOCI_BIN:-}" ]; then
	new=$bin
elif [ -n "$bin" ]; then
	if [ -f "$here/$arch" ] && ! cmp -s "$here/$arch" "$bin"; then
		sum=$(vouched "$@") || die "$bin does not verify $ref: nothing was changed (MMOCI_BIN=FILE names another mmoci, if you know where that comes from)"
		if [ -z "$sum" ]; then
			say "$bin stays: no key of the site's vouches for $here/$arch"
		else
			aside "$here/$arch"
			hashes "$temp" "$sum" || die "$here/$arch is not what the site signed: nothing was changed"
			new=$temp
		fi
	fi
elif [ -f "$here/$arch" ]; then
	[ -n "$sum" ] || die "nothing vouches for $here/$arch: this script came without its digest (give MMOCI_SHA256)"
	aside "$here/$arch"
	hashes "$temp" "$sum" || die "$here/$arch is not the program that this script came with, or that MMOCI_SHA256 says"
	new=$temp
elif [ -n "${MMOCI_URL:-}" ]; then
	[ -n "$sum" ] || die "MMOCI_URL without MMOCI_SHA256: nothing would vouch for the program"
	temp=$(mktemp)
	host=${MMOCI_URL#*://} && host=${host%%/*} && host=${host%:*} # proxies are for what is beyond the site
	if command -v curl >/dev/null; then curl --noproxy '*' -fsS -o "$temp" "$MMOCI_URL/mmoci/$arch"
	elif command -v wget >/dev/null; then http_proxy='' https_proxy='' wget -q -O "$temp" "$MMOCI_URL/mmoci/$arch"
	elif [ -x /usr/lib/apt/apt-helper ]; then
		/usr/lib/apt/apt-helper -qq -o "Acquire::http::Proxy::$host=DIRECT" -o "Acquire::https::Proxy::$host=DIRECT" \
			-o APT::Sandbox::User=root download-file "$MMOCI_URL/mmoci/$arch" "$temp"
	else die "needs curl, wget or apt to fetch $MMOCI_URL/mmoci/$arch"
	fi
	hashes "$temp" "$sum" || die "$MMOCI_URL/mmoci/$arch is not what MMOCI_SHA256 says"
	new=$temp
fi
[ -n "$bin$new" ] || die "no mmoci for $arch: give MMOCI_BIN, or MMOCI_URL with MMOCI_SHA256"
case $new in '' | /usr/bin/mmoci | /usr/local/bin/mmoci) ;; *)
	if ! cmp -s "$new" /usr/local/bin/mmoci; then
		mkdir -p /usr/local/bin
		cp "$new" /usr/local/bin/.mmoci-tmp
		chmod 755 /usr/local/bin/.mmoci-tmp
		mv /usr/local/bin/.mmoci-tmp /usr/local/bin/mmoci
	fi
	;;
esac
if [ -x /usr/local/bin/mmoci ]; then mmoci=/usr/local/bin/mmoci; else mmoci=${bin:-$new}; fi
"$mmoci" host --help | grep -q '^  put ' || die "$mmoci is older than this script: nothing was changed (give MMOCI_KEY, the site's key, by which another is believed)"
[ -z "$key" ] || "$mmoci" host put --replace --keep "/etc/mmoci/site.asc=$key" >/dev/null
took "mmoci is $mmoci"

# 3. The packages.
# shellcheck disable=SC2086 # lists
"$mmoci" install --ref "$ref" $flags $via "$@" $packages
took "packages ($packages)"

# 4. The images.
near=$listen # the address as this host reaches it
case $listen in 0.0.0.0:* | '[::]:'* | :*) near=127.0.0.1:${listen##*:} ;; esac
url=http://$near
answers() { { docker version || ctr --connect-timeout 2s version || podman info; } >/dev/null 2>&1; }
temp2=$(mktemp)
images=
if [ -z "${MMOCI_IMAGES:-}" ] || yes "$MMOCI_IMAGES"; then
	names=
	case ${MMOCI_IMAGES:-yes} in 1 | yes | true | Yes | True) ;; *) names=$MMOCI_IMAGES ;; esac
	hosts=
	if yes "${MMOCI_REGISTRY:-}"; then hosts="--hosts $url"; fi
	import() { # REF, then what it is believed by
		# shellcheck disable=SC2086 # lists
		images=$("$mmoci" host images --engine "${MMOCI_ENGINE:-auto}" --wait $wait $hosts $flags $via "$@" $names)
	}
	wait=0s status=0
	if answers; then
		import "$ref" "$@" || status=$?
	else # there may be no images, and no engine is needed
		import "$ref" "$@" 2>"$temp2" || status=$?
		if [ $status != 1 ] || ! [ -d /run/systemd/system ]; then
			cat "$temp2" >&2
		else # policy-rc.d kept the engine from being started
			for s in docker containerd; do
				if [ -e /lib/systemd/system/$s.service ]; then
					systemctl start $s.service || say "$s.service does not start"
					wait=30s
					break
				fi
			done
			status=0
			import "$ref" "$@" || status=$?
		fi
	fi
	case $status in
	0) ;;
	1 | 2) # without an engine, or a key: upstream's vouch for packages alone
		[ -z "${MMOCI_IMAGES:-}" ] || exit $status
		if [ $status = 2 ]; then [ -z "$key" ] || exit $status; elif answers; then exit $status; fi
		say "the images of the snapshot were not imported; once that is mended, run this again"
		;;
	*) exit $status ;;
	esac
	took "images ($(printf '%s' "$images" | grep -c . || :))"
fi

# 5. The mirror on this host.
serve=${MMOCI_SERVE:-}
if [ -z "$serve" ]; then
	if [ -d /run/systemd/system ]; then serve=unit; else serve=no; fi
fi
case $serve in unit | pod) ;; no) exit 0 ;; *) die "MMOCI_SERVE is $serve; it is unit, pod or no" ;; esac
served=$ref
case $ref in
oci:*:* | oci-archive:*:*) # a stick is gone tomorrow, and root's directories are closed to the server
	tag=${ref%@*}
	served=oci:/var/lib/mmoci-mirror:${tag##*:}
	"$mmoci" copy "$ref" "$served" >/dev/null
	"$mmoci" tag prune -q --keep-last "${MMOCI_KEEP:-2}" "$served" >/dev/null
	;;
oci:* | oci-archive:*) die "$ref has no tag to serve: give MMOCI_REF=$ref:TAG" ;;
*) flags="$flags --store-size ${MMOCI_STORE_SIZE:-20G}" ;;
esac
config='' temp3=$(mktemp)
if yes "${MMOCI_REGISTRY:-}"; then
	flags="$flags --registry"
	# An engine does not ask who signed what a tag of a registry names, as apt does: the server sees to it. The
	# site's own configuration, if there is one, says what that trusts; a digest needs no key.
	case $key$ref in
	*@sha256:*) ;;
	/*)
		if ! [ -e /etc/mmoci/mmoci.yaml ]; then
			config=/etc/mmoci/mirror.yaml
			flags="$flags -f $config"
			printf 'trust: [/etc/mmoci/site.asc]\n' >"$temp3"
		fi
		;;
	esac
fi
put() { # FILE: standard input, and the key that it is verified by; prints it if it changed. What is not needed any more is removed.
	cat >"$temp2"
	"$mmoci" host put --replace ${key:+"/etc/mmoci/site.asc=$key"} ${config:+"$config=$temp3"} "$1=$temp2" | grep -Fx "$1" || :
}
case $serve in
unit)
	changed=$(put /etc/systemd/system/mmoci-mirror.service <<-END
		[Unit]
		Description=apt mirror of the site (mmoci)
		Wants=network-online.target
		After=network-online.target

		[Service]
		ExecStart=$mmoci serve $flags $via --listen $listen --state /var/lib/mmoci --wait -q $served
		DynamicUser=yes
		StateDirectory=mmoci
		Restart=always
		RestartSec=5
		ProtectSystem=strict
		ProtectHome=read-only
		NoNewPrivileges=yes

		[Install]
		WantedBy=multi-user.target
	END
	)
	if [ -n "$changed" ]; then systemctl daemon-reload; systemctl restart mmoci-mirror.service; fi
	systemctl enable --now mmoci-mirror.service
	;;
pod)
	image=${MMOCI_IMAGE:-$(printf '%s\n' "$images" | sed -n '/\/mmoci:[^/]*$/p' | head -n 1)}
	[ -n "$image" ] || die "MMOCI_SERVE=pod needs MMOCI_IMAGE: no image called mmoci was imported"
	args=
	for a in serve $flags $via --listen "$listen" --state /var/lib/mmoci --wait -q "$served"; do args="$args${args:+, }\"$a\""; done
	mkdir -p /etc/mmoci /etc/ssl/certs /var/lib/mmoci /var/lib/mmoci-mirror
	chown 65532:65532 /var/lib/mmoci # the image's user
	put "${MMOCI_MANIFESTS:-/etc/kubernetes/manifests}/mmoci.yaml" >/dev/null <<-END
		apiVersion: v1
		kind: Pod
		metadata: {name: mmoci, namespace: kube-system, labels: {app.kubernetes.io/name: mmoci}}
		spec:
		  automountServiceAccountToken: false
		  enableServiceLinks: false
		  hostNetwork: true
		  priorityClassName: system-node-critical
		  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
		  containers:
		  - name: mmoci
		    image: "$image"
		    imagePullPolicy: IfNotPresent
		    args: [$args]
		    env:
		    - {name: DOCKER_CONFIG, value: /etc/mmoci}
		    - {name: GOMEMLIMIT, value: 200MiB}
		    livenessProbe: {httpGet: {host: "${near%:*}", port: ${near##*:}, path: /healthz}, periodSeconds: 20, timeoutSeconds: 5}
		    readinessProbe: {httpGet: {host: "${near%:*}", port: ${near##*:}, path: /readyz}, periodSeconds: 10, timeoutSeconds: 5}
		    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 256Mi}}
		    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
		    volumeMounts:
		    - {name: state, mountPath: /var/lib/mmoci}
		    - {name: mirror, mountPath: /var/lib/mmoci-mirror, readOnly: true}
		    - {name: config, mountPath: /etc/mmoci, readOnly: true}
		    - {name: certificates, mountPath: /etc/ssl/certs, readOnly: true}
		  volumes:
		  - {name: state, hostPath: {path: /var/lib/mmoci, type: Directory}}
		  - {name: mirror, hostPath: {path: /var/lib/mmoci-mirror, type: Directory}}
		  - {name: config, hostPath: {path: /etc/mmoci, type: Directory}}
		  - {name: certificates, hostPath: {path: /etc/ssl/certs, type: Directory}}
	END
	;;
esac

"$mmoci" host wait "$url" --timeout 5m
took "mirror ($serve, $url)"

# 6. apt.
alone=
if yes "${MMOCI_ALONE:-}"; then alone=--alone; fi
if [ -n "$key" ]; then
	"$mmoci" host sources "$url" "$@" $alone
else
	"$mmoci" host sources "$url" "$@" $alone --upstream
fi
took "apt"
