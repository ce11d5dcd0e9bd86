# 66-seeds.sh: what users have in their hands (testdata/seeds), typed with real programs: gpg, tinyproxy, a registry, apt, dpkg, docker.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seeds=$E2E_TOP/testdata/seeds

site # the real upstream, and snapshots of it
ln -sf "$mmoci" "$work/mmoci"
PATH=$work:$PATH

# --- A: the mini-mirror's environment, behind a proxy

# A network of its own, in which archive and registry have their names.
space=mmoci-66-$$
ip netns add $space && echo $space >>spaces
ip -n $space link set lo up
for n in 1 2 3; do ip -n $space addr add 192.0.2.$n/32 dev lo; done
names=/etc/netns/$space
mkdir -p "$names" # ip netns exec lays it over /etc
trap 'rm -rf "$names"; clean_up' EXIT
printf '127.0.0.1 localhost\n192.0.2.1 archive.example.org\n192.0.2.2 registry.example.org\n192.0.2.3 proxy.example.org\n' >"$names/hosts"
: >"$names/resolv.conf"
inside() { ip netns exec $space env SSL_CERT_FILE="$work/tls.crt" "$@"; }

cat >nginx.conf <<-END
	daemon off; user root; worker_processes 1; pid $work/nginx.pid; error_log $work/nginx.error;
	events { worker_connections 256; }
	http {
	  access_log off; client_body_temp_path $work/nginx.d; proxy_temp_path $work/nginx.d; fastcgi_temp_path $work/nginx.d;
	  uwsgi_temp_path $work/nginx.d; scgi_temp_path $work/nginx.d;
	  server { listen 192.0.2.1:80; root $up; }
	}
END
mkdir -p nginx.d
start nginx ip netns exec $space nginx -e "$work/nginx.error" -c "$work/nginx.conf"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=e2e \
	-addext 'subjectAltName=DNS:registry.example.org' -keyout tls.key -out tls.crt >&2
registry_prefix="ip netns exec $space"
registry_start registry registry "$work/storage" 192.0.2.2:5000 "$work/tls"
registry_prefix=
printf 'Port 3128\nListen 192.0.2.3\nTimeout 60\nMaxClients 50\nLogLevel Connect\nLogFile "%s/proxy.requests"\nUser root\nGroup root\n' "$work" >tinyproxy.conf
start tinyproxy ip netns exec $space tinyproxy -d -c "$work/tinyproxy.conf"
answers() {
	inside curl -sf -o /dev/null http://archive.example.org/debian/dists/bookworm/InRelease
	inside curl -sf --cacert tls.crt https://registry.example.org:5000/v2/
	inside curl -sf -o /dev/null -x http://proxy.example.org:3128 http://archive.example.org/debian/dists/bookworm/InRelease
}
eventually answers

# The tree, letter by letter but for the places; the packages are real.
cp -r "$seeds/a-mini-mirror/." .
cp "$E2E_TOP/artifacts/samples/build.sh" .
sed -i "s,\"amd64\",\"$arch\"," aptly.conf
rm -r sources/*
mkdir -p sources/debian/bookworm sources/debian-security/bookworm
echo "http://archive.example.org/debian $up/keyring-debian.gpg bookworm main" >sources/debian/bookworm/source.txt
echo 'docker.io (>= 20.10)' >sources/debian/bookworm/packages.txt
echo "http://archive.example.org/debian-security $up/keyring-debian-security.gpg bookworm-security main" >sources/debian-security/bookworm/source.txt
echo tzdata >sources/debian-security/bookworm/packages.txt
sed "s,/path/to/sources,$work/sources," environment.sh >run.sh

# The key is one of GnuPG's, locked.
GNUPGHOME=$work/gnupg
export GNUPGHOME
mkdir -m 700 gnupg
gpg --batch -q --pinentry-mode loopback --passphrase passphrase --quick-gen-key 'Site <site@example.org>' rsa3072 sign never >&2
gpg --batch -q --pinentry-mode loopback --passphrase passphrase --export-secret-keys >key.gpg
gpg --batch -q --export >site.gpg
gpgconf --kill all >&2 || :

# build NAME=VALUE..: the environment typed, in the network, with more of it.
build() { inside env REGISTRY_URI=registry.example.org:5000/site/ SERVER_IMAGE=none "$@" sh -eu run.sh; }
asked() { grep -c -e "$1" proxy.requests || :; }
forget() { : >proxy.requests; }

built() {
	forget
	build HTTP_PROXY=http://proxy.example.org:3128 HTTPS_PROXY=http://proxy.example.org:3128 NO_PROXY= | tee built.ref
	grep '^registry.example.org:5000/site/mini-mirror:latest-ubuntu@sha256:' built.ref
	same "indices by the proxy" 2 "$(asked 'GET http://archive.example.org/.*/InRelease')"
	[ "$(asked 'CONNECT registry.example.org:5000')" -gt 0 ]
	inside "$mmoci" verify --keyring site.gpg --keyring "debian=$up/keyring-debian.gpg" --keyring "debian-security=$up/keyring-debian-security.gpg" "$(cat built.ref)"
	inside "$mmoci" pull --keyring site.gpg -o tree "$(cat built.ref)"
	gpgv --keyring "$work/site.gpg" tree/debian/dists/bookworm/InRelease
	gpgv --keyring "$work/site.gpg" tree/debian/dists/bookworm/Release.gpg tree/debian/dists/bookworm/Release
	not grep -rq passphrase storage
}
check "the mini-mirror's environment, literally, through a proxy in capitals: pushed, signed by GnuPG's own key, verified" built

small() {
	for case in \
		'http_proxy=http://proxy.example.org:3128 https_proxy=http://proxy.example.org:3128|2|yes' \
		'https_proxy=http://proxy.example.org:3128|0|yes' \
		'HTTP_PROXY=http://proxy.example.org:3128 HTTPS_PROXY=http://proxy.example.org:3128 NO_PROXY=archive.example.org|0|yes' \
		'HTTP_PROXY=http://proxy.example.org:3128 HTTPS_PROXY=http://proxy.example.org:3128 NO_PROXY=registry.example.org|2|no' \
		'http_proxy=http://proxy.example.org:3128 https_proxy=http://proxy.example.org:3128 no_proxy=.example.org,192.0.2.0/24|0|no'; do
		forget
		# shellcheck disable=SC2086 # words
		build ${case%%|*} XDG_STATE_HOME="$work/anew" | cmp - built.ref
		rm -rf anew
		rest=${case#*|}
		same "indices by the proxy with ${case%%|*}" "${rest%|*}" "$(asked 'GET http://archive.example.org/.*/InRelease')"
		case ${rest#*|} in
		yes) [ "$(asked 'CONNECT registry.example.org:5000')" -gt 0 ] || { echo "the registry is not asked through the proxy with ${case%%|*}"; return 1; } ;;
		no) same "connections to the registry with ${case%%|*}" 0 "$(asked 'CONNECT registry.example.org:5000')" ;;
		esac
	done
}
check "proxies in small letters and capitals, NO_PROXY by name and domain: upstream and registry each by what is said" small

wrong() {
	echo '{' >aptly.conf
	refused 2 'aptly.conf:1: aptly configuration: not JSON from here on' build X=
	rm aptly.conf
	refused 2 'aptly.conf that APTLY_CONFIG_PATH names' build X=
}
check "a broken or absent APTLY_CONFIG_PATH ends with 2 and the file's name" wrong

# --- B: the init script, with and without the mirror

base_root
registry_start local registry "$work/local"
skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:$shared/layout:docker" "docker://$registry/site/mirror:docker" >&2

# init NAME VALUE..: the script in a minimal root.
init() {
	new_root "$1"
	shift
	cp "$mmoci" "$root/usr/local/bin/"
	cp "$sitekey" "$root/site.asc"
	cp "$seeds/b-genesis/init.sh" "$root/"
	rm -rf "$root"/etc/apt/sources.list.d/*
	[ "$1" != apt ] || cp apt.sources "$root/etc/apt/sources.list.d/"
	shift
	in_root env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" sh /init.sh
	healthy
	in_root docker --version
}
with() { init with-mirror none deploy_with_miniMirror=yes "reference=$registry/site/mirror:docker" keyring=/site.asc; }
check "init.sh with deploy_with_miniMirror: docker from the mirror's .debs, without an apt source" with

nginx_start upstream "$up"
for p in debian debian-security; do
	suites='bookworm bookworm-updates'
	[ $p = debian ] || suites=bookworm-security
	printf 'Types: deb\nURIs: %s/%s\nSuites: %s\nComponents: main\nTargets: Packages\nLanguages: none\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' "$nginx" $p "$suites"
done >apt.sources
without() { init with-apt apt deploy_with_miniMirror=; }
check "init.sh without it: docker from apt's own sources" without

# --- E: docker pull by the site's name, over the read-only registry of serve

umoci init --layout image >&2
umoci new --image image:latest >&2
umoci insert --image image:latest "$(command -v busybox)" /bin/busybox >&2
cat >image.yaml <<-END
	$(sign_part)
	images:
	- {image: "oci:$work/image:latest", as: registry.example.org/fedora:latest}
	archives:
	- {prefix: own, mode: curated, debs: $work/debs}
END
mkdir -p debs
cp "$(find "$up" -name 'hello_*.deb' | head -n 1)" debs/
"$mmoci" push -f image.yaml --date 2026-01-01 "oci:$work/scale:noble" >&2
start serve ip netns exec $space "$mmoci" serve --registry --listen 192.0.2.2:80 --state "$work/serve.state" "oci:$work/scale:noble"
there() { inside curl -sf http://registry.example.org/v2/; }
eventually there
same "the api" '{}' "$(there)"
wanted=$(jq -r '.manifests[0].digest' image/index.json)

by_skopeo() {
	inside skopeo --insecure-policy copy -q --src-tls-verify=false docker://registry.example.org/fedora:latest "oci:$work/copied:latest"
	same "digest" "$wanted" "$(jq -r '.manifests[0].digest' copied/index.json)"
}
check "skopeo copies registry.example.org/fedora" by_skopeo

# ip netns exec hides the cgroups, so the network is entered by itself, and the names are laid over those of /etc in a mount namespace.
start dockerd nsenter --net="/run/netns/$space" unshare -m sh -c 'mount --bind "$1/hosts" /etc/hosts && shift && exec "$@"' sh "$names" dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root "$work/docker" \
	--exec-root "$work/docker.run" --pidfile "$work/docker.pid" -H "unix://$work/docker.sock" --insecure-registry registry.example.org
dockerd=$pid
DOCKER_HOST=unix://$work/docker.sock
export DOCKER_HOST
eventually docker version
by_docker() {
	inside sh -eu "$seeds/e-scale-out/pull.sh"
	docker image inspect registry.example.org/fedora | tee inspected.json | jq -e --arg d "registry.example.org/fedora@$wanted" '.[0].RepoDigests | index($d)'
	docker cp "$(docker create registry.example.org/fedora /bin/busybox):/bin/busybox" pulled
	cmp pulled "$(command -v busybox)"
}
check "docker pull registry.example.org/fedora" by_docker
stop "$dockerd"
