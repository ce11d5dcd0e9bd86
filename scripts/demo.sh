#!/bin/sh
# demo.sh: a real slice of this machine's Debian or Ubuntu becomes one snapshot, and five sentences say what came of it,
# each with the commands that check it by hand:
#
#	1  three equal numbers: what the distribution signed, what the registry answers, what is on disk
#	2  docker.io installed while there is no network
#	3  one flipped byte is named, exit code 3, apt and dpkg untouched
#	4  a container image of redis-server, each of its layers proved to be a .deb that the distribution signed, run where something is there that runs it
#	5  the time it took
#
# Sentence 2 needs root (it makes a minimal root of the snapshot and changes into it), and network namespaces.
# What cannot be shown on this machine is left out, and the sentence says so. If a sentence does not hold, the exit code is 1.
# Needs bin/mmoci (make build) and the base of Debian or Ubuntu. Writes below demo/ alone. PKG names another package than docker.io.
set -eu
umask 022
cd "$(dirname "$0")/.."
. scripts/lib.sh
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH
need apt-get apt-cache apt-config dpkg awk od sha256sum timeout
pkg=${PKG:-docker.io}
app=redis-server
top=$PWD/demo
mmoci=$PWD/bin/mmoci
[ -x "$mmoci" ] || die "needs bin/mmoci; make it with: make build"
mkdir -p "$top"
[ -w "$top" ] || die "demo/ is another user's; remove it"
cd "$top"
rm -rf again apt apt.conf bare debs flipped image images layout mmoci.yaml root state stick.debs ./*.log ./*.txt ./*.sha256 || die "demo/ has files of another user; remove it"
export XDG_STATE_HOME="$top/state" # what mmoci remembers of this demo is no matter of the user's own
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1

now() { date +%s; }
start=$(now)
times=
step() { printf '\n== %s\n' "$*"; t=$(now); }
took() { t=$(($(now) - t)); times="$times${times:+, }$1 $t s"; }

# logged NAME COMMAND..: the output goes to NAME.log; a failure shows its end.
logged() {
	_log=$1.log _status=0
	shift
	"$@" >"$_log" 2>&1 || _status=$?
	[ $_status = 0 ] || { tail -n 20 "$_log" >&2; die "exit code $_status: $*; see demo/$_log"; }
}

# --- what can be shown here

# With no network: in a namespace of its own, where not even loopback is up. An ordinary user makes one as root of a user
# namespace; dpkg could not install in there, where there is one user alone.
offline='' whynot=
if unshare -n true 2>why.txt; then
	offline='unshare -n'
elif [ "$(id -u)" != 0 ] && unshare -r -n true 2>/dev/null; then
	offline='unshare -r -n'
else
	whynot=$(head -n 1 why.txt)
fi

# A minimal root takes chroot and a device file.
chroots=
if [ "$(id -u)" != 0 ]; then
	noroot="it takes root, to change into a root file system"
elif ! chroot / true 2>why.txt; then
	noroot=$(head -n 1 why.txt)
elif ! { rm -f null && mknod null c 1 3 && : >null; } 2>why.txt; then
	noroot="there is no making a device file in demo/ ($(head -n 1 why.txt))"
else
	chroots=yes
fi
rm -f null

# --- the snapshot

step "A real upstream, laid out from this machine's apt: $pkg, $app and what they need${chroots:+, and a base system}"
timeout 300 ../scripts/real-upstream.sh ${chroots:+--base} upstream "$pkg" $app >upstream.txt || case $? in
124) die "no upstream after 300 s; does apt-get update work on this machine?" ;;
*) die "no upstream, for the reason above" ;;
esac
distribution=$(cat upstream/*/dists/*/*Release | sed -n 's/^Origin: //p' | head -n 1)
took "fetching from $distribution"

step "The site's signing key and configuration"
[ -e keys/site.asc ] || "$mmoci" key new -o keys/site.asc
{
	echo 'ref: oci:layout:demo'
	echo 'sign: {key: keys/site.asc}'
	echo 'trust: [keys/site.pub.asc]'
	cat upstream/mmoci.yaml
} >mmoci.yaml

step "mmoci push: verified under $distribution's key, chosen, signed by the site, packed"
"$mmoci" push >push.txt
echo "   $(cat push.txt)"
"$mmoci" ls | sed 's/.*sha256://' | sort >got.txt
cut -f4 upstream/closure.tsv | sort >wanted.txt
cmp -s got.txt wanted.txt || die "not the set that apt-get chooses: compare demo/got.txt and demo/wanted.txt"
echo "   $(($(wc -l <got.txt))) packages, the very set that $distribution's apt-get chooses"
took push

step "mmoci verify: from $distribution's key down to every byte${offline:+, with no network}"
$offline "$mmoci" verify --require upstream
took verify

step "mmoci pull --extract $pkg: what it needs, for dpkg, on a machine that has nothing${offline:+, with no network}"
$offline "$mmoci" pull --extract "$pkg" --host-status none -o debs >order.txt
count=$(($(ls debs | wc -l)))
echo "   $count files, in the order of demo/order.txt"
took extract

# --- a server, for apt and as a registry

step "mmoci serve: a real apt-get that knows nothing else, and a registry for anybody's client"
: >serve.log # it is read before the server has begun
"$mmoci" serve --registry --listen 127.0.0.1:0 --state state/serve >access.log 2>>serve.log &
serve=$!
trap 'kill $serve 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM HUP
url='' n=0
until [ -n "$url" ]; do
	{ kill -0 $serve 2>/dev/null && [ $n -lt 300 ]; } || { cat serve.log >&2; die "mmoci serve did not start"; }
	n=$((n + 1))
	sleep 0.1
	url=$(sed -n 's/.*listening on \([^"]*\)".*/http:\/\/\1/p' serve.log)
done

# fetch URL FILE, and what a person types for it.
if command -v curl >/dev/null; then
	client=curl
	fetch() { curl -fsS --noproxy '*' --max-time 120 -o "$2" "$1"; }
	typed() { echo "curl -s --noproxy '*' --retry 9 --retry-connrefused $1 | sha256sum"; }
elif command -v wget >/dev/null; then
	client=wget
	fetch() { wget -q --no-proxy --timeout=120 -O "$2" "$1"; }
	typed() { echo "sleep 2; wget -q --no-proxy -O - $1 | sha256sum"; }
else
	client="apt's downloader, for neither curl nor wget is here"
	helper='/usr/lib/apt/apt-helper -q -o APT::Sandbox::User=root -o Acquire::http::Proxy::127.0.0.1=DIRECT download-file'
	fetch() { $helper "$1" "$2" >/dev/null; }
	typed() { echo "sleep 2; $helper $1 again.deb && sha256sum again.deb"; }
fi

mkdir -p apt/lists/partial apt/archives/partial apt/sources apt/parts
: >apt/status
cat >apt.conf <<-END
	Dir::Etc::main "/dev/null";
	Dir::Etc::sourcelist "/dev/null";
	Dir::Etc::sourceparts "$top/apt/sources";
	Dir::Etc::parts "$top/apt/parts";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "$top/apt/parts";
	Dir::State "$top/apt";
	Dir::State::status "$top/apt/status";
	Dir::Cache "$top/apt";
	Acquire::Languages "none";
	Acquire::http::Proxy "DIRECT";
	APT::Sandbox::User "root";
	Debug::NoLocking "true";
END
for p in $(sed -n 's/^- prefix: //p' mmoci.yaml); do
	fetch "$url/setup/$p.sources" "$p.sources"
	# The key is the site's own file: whatever key the server hands out is not believed, and apt before 2.3.10 knows no other form.
	awk -v key="$top/keys/site.pub.asc" '/^Signed-By:/ { print "Signed-By: " key; on = 1; next } on && /^[ \t]/ { next } { on = 0; print }' "$p.sources" >"apt/sources/$p.sources"
	rm -f "$p.sources"
done
logged update env APT_CONFIG="$top/apt.conf" apt-get -q update
if grep '^[EW]:' update.log >&2; then die "apt-get update complains; see demo/update.log"; fi
logged download env APT_CONFIG="$top/apt.conf" apt-get -y -q --no-install-recommends --download-only install "$pkg"
[ $(($(ls apt/archives/*.deb | wc -l))) = "$count" ] || die "apt-get downloads another number of packages than mmoci: compare demo/apt/archives and demo/debs"
echo "   apt-get updated, and downloaded $count packages"

# Three numbers, each by a program of its own: apt, which verified the distribution's signature; a client of the registry; sha256sum.
deb=$(awk -F'\t' -v p="$pkg" '$1 == p { print $6 }' upstream/closure.tsv)
version=$(awk -F'\t' -v p="$pkg" '$1 == p { print $2 }' upstream/closure.tsv)
file=${deb##*/}
signed=$(APT_CONFIG=upstream/.apt/own.conf apt-cache show "$pkg=$version" | sed -n 's/^SHA256: //p' | head -n 1)
fetch "$url/v2/mirror/blobs/sha256:$signed" blob.deb || die "the registry does not give sha256:$signed, which $distribution signed for $pkg"
fetched=$(sha256 blob.deb)
disk=$(sha256 "debs/$file")
rm -f blob.deb
if [ "$signed" != "$fetched" ] || [ "$signed" != "$disk" ]; then
	printf '   %s %s\n' "$signed" "signed by $distribution" "$fetched" "fetched by $client" "$disk" "debs/$file" >&2
	die "three numbers are not equal"
fi
if [ -n "$offline" ] && [ "$client" = curl ] && $offline curl -s --noproxy '*' --max-time 5 -o /dev/null "$url/healthz"; then
	die "$offline does not take the network away"
fi
took "serve and apt-get"

# --- a minimal root

if [ -n "$chroots" ]; then
	step "A minimal root, made of the snapshot"
	"$mmoci" pull --extract 'Priority (= required),apt' --host-status none -o stick.debs >/dev/null
	../scripts/minroot.sh root stick.debs/*.deb
	rm -f root/etc/apt/sources.list
	base=$(($(chroot root dpkg-query -f '.\n' -W | wc -l)))
	took "minimal root"
fi

# --- one byte

step "One byte of $pkg is flipped, in a copy of the layout"
cp -al layout flipped 2>/dev/null || { rm -rf flipped; cp -a layout flipped; }
at=$(($(wc -c <"debs/$file") / 2))
was=$(($(dd if="debs/$file" bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)))
cp "debs/$file" wrong.deb
# shellcheck disable=SC2059 # an octal escape
printf "\\$(printf %o $((was ^ 1)))" | dd of=wrong.deb bs=1 seek=$at conv=notrunc 2>/dev/null
mv -f wrong.deb "flipped/blobs/sha256/$signed"

# bare: what apt and dpkg know of the minimal root; without one, of a machine that has nothing.
mkdir -p bare/var/lib/dpkg bare/var/lib/apt bare/var/cache
if [ -n "$chroots" ]; then
	cp -a root/var/lib/dpkg root/var/lib/apt bare/var/lib/
	cp -a root/var/cache/apt bare/var/cache/
else
	: >bare/var/lib/dpkg/status
fi
known() { find bare -type f ! -name 'lock*' -exec sha256sum {} + | sort -k 2; }
known >bare.sha256
for command in "verify oci:flipped:demo" "install --root bare --ref oci:flipped:demo $pkg"; do
	status=0
	# shellcheck disable=SC2086 # words
	"$mmoci" $command >refused.log 2>&1 || status=$?
	[ $status = 3 ] || { cat refused.log >&2; die "one byte of $pkg is wrong, and mmoci $command ends with $status, not 3"; }
	grep -F "$file" refused.log | grep -qF "$signed" || { cat refused.log >&2; die "mmoci $command does not name $file"; }
done
echo "   $(grep -F "$file" refused.log | tail -n 1)"
known | cmp - bare.sha256 || die "what apt and dpkg know has changed: compare demo/bare with demo/bare.sha256"
took "flipped byte"

# --- docker, with no network

if [ -n "$chroots" ]; then
	step "mmoci install $pkg, in the minimal root${offline:+, with no network}: a static program, the site's key and the layout, as on a stick"
	mkdir root/stick
	cp "$mmoci" keys/site.pub.asc root/stick/
	cp -al layout root/stick/ 2>/dev/null || { rm -rf root/stick/layout; cp -a layout root/stick/; }
	# shellcheck disable=SC2086 # words
	logged install $offline env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C chroot root \
		/stick/mmoci install --ref oci:/stick/layout:demo --keyring /stick/site.pub.asc "$pkg"
	chroot root dpkg --audit >audit.txt
	[ ! -s audit.txt ] || { cat audit.txt >&2; die "dpkg --audit complains in demo/root"; }
	[ "$(chroot root dpkg-query -f '${db:Status-Status} ${Version}' -W "$pkg")" = "installed $version" ] || die "$pkg $version is not installed in demo/root"
	[ "$pkg" != docker.io ] || echo "   $(chroot root dockerd --version)"
	took install
fi

# --- a container image

step "mmoci image build: a container image of $app, no script run${offline:+, with no network}"
mkdir image
cat >image/image.yaml <<-END
	name: redis
	packages: [$app]
	arch: $(dpkg --print-architecture)
	scripts: none
	config: {entrypoint: [/usr/bin/redis-server], command: [--port, "0", --unixsocket, /redis.sock, --save, ""], user: "0:0"}
END
$offline "$mmoci" image build -f image oci:images:redis >image.txt 2>image.log || { cat image.log >&2; die "no image"; }
echo "   $(cat image.txt)"
$offline "$mmoci" image verify oci:images:redis >proof.txt 2>proof.log || { cat proof.log >&2; die "the image is not proved"; }
echo "   $(cat proof.txt)"
in_image=$(sed -n 's/.*: proved \([0-9]*\), .*/\1/p' proof.txt)
[ "$in_image" -gt 1 ] || die "the packages of the image are not proved: see demo/proof.txt"
app_version=$(awk -F'\t' -v p="$app" '$1 == p { print $2 }' upstream/closure.tsv)

# image/run.sh ENGINE: runs the image, asks redis, ends it. The last line is what redis answered.
cat >image/run.sh <<'END'
set -eu
cd "$(dirname "$0")"
id=mmoci-demo-$$
# ask COMMAND..: until redis answers, for a minute at most, and not beyond the end of what runs it.
ask() {
	n=0
	until "$@" /usr/bin/redis-cli -s /redis.sock ping 2>ask.log | grep PONG; do
		n=$((n + 1))
		[ -z "${run:-}" ] || kill -0 "$run" 2>/dev/null || { cat run.log >&2; return 1; }
		[ $n -lt 300 ] || { cat ask.log >&2; return 1; }
		sleep 0.2
	done
}
case $1 in
crun | runc)
	# What engines do: the layers on each other, and a configuration for the runtime (runtime-spec, config.md).
	rm -rf bundle && mkdir -p bundle/rootfs
	blobs=../images/blobs/sha256
	digests() { grep -o "\"$1\": *\[.*" "$2" | grep -o 'sha256:[0-9a-f]\{64\}' | cut -d: -f2; }
	index=$(sed -n 's/.*@sha256://p' ../image.txt)
	for layer in $(digests layers $blobs/"$(digests manifests $blobs/"$index" | head -n 1)"); do
		gzip -dc $blobs/"$layer" | tar --no-same-owner -C bundle/rootfs -xf -
	done
	find bundle/rootfs -name '.wh.*' | while read -r w; do rm -rf "${w%/*}/${w##*/.wh.}" "$w"; done
	user=''
	[ "$(id -u)" = 0 ] || user=", {\"type\": \"user\"}], \"uidMappings\": [{\"containerID\": 0, \"hostID\": $(id -u), \"size\": 1}], \"gidMappings\": [{\"containerID\": 0, \"hostID\": $(id -g), \"size\": 1}"
	cat >bundle/config.json <<-JSON
		{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "hostname": "redis",
		"process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "noNewPrivileges": true,
			"args": ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/redis.sock", "--save", ""]},
		"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
		"linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}$user]}}
	JSON
	[ "$1" = runc ] || set -- crun --cgroup-manager=disabled
	"$@" --root "$PWD/state" run -b bundle $id >run.log 2>&1 &
	run=$!
	trap '"$@" --root "$PWD/state" kill $id KILL 2>/dev/null || :; wait' EXIT
	ask "$@" --root "$PWD/state" exec $id
	;;
podman)
	podman run -d --name $id --network none oci:"${PWD%/*}"/images:redis >run.log
	trap 'podman rm -f $id >/dev/null 2>&1 || :' EXIT
	ask podman exec $id
	;;
docker)
	../../bin/mmoci copy oci:../images:redis oci-archive:redis.tar:redis >/dev/null 2>&1
	docker run -d --name $id --network none "$(docker load -q -i redis.tar | sed 's/.* //')" >run.log
	trap 'docker rm -f $id >/dev/null 2>&1 || :' EXIT
	ask docker exec $id
	;;
esac
END
ran='' notrun='neither crun, runc, podman nor docker is here'
for engine in crun runc podman docker; do
	command -v $engine >/dev/null || continue
	if timeout 300 sh image/run.sh $engine >pong.txt 2>$engine.log && grep -qx PONG pong.txt; then
		ran=$engine
		echo "   $engine runs it, and redis answers PONG"
		break
	fi
	notrun="$engine does not run it here ($(grep . $engine.log image/run.log 2>/dev/null | tail -n 1 | sed 's/^[^:]*://'))"
done
[ -n "$ran" ] || echo "   it is not run: $notrun"
took image

# --- five sentences

try() { printf '   $ %s\n' "$@"; }
printf '\n== What was shown, and what to type to see for yourself (cd demo)\n\n'

cat <<-END
	1. Three numbers are equal: the SHA256 that $distribution signed for $pkg, that of the blob which the registry answers, and that of the file on disk.
	   $signed signed: in $distribution's index, verified by apt-get under $distribution's key
	   $fetched fetched: by $client, as a blob of $url/v2/mirror/
	   $disk on disk: debs/$file
END
try "(export APT_CONFIG=upstream/.apt/own.conf; apt-get -q update && apt-cache show $pkg=$version | grep SHA256)" \
	"../bin/mmoci serve --registry --listen ${url#http://} --state state/serve >/dev/null 2>&1 & $(typed "$url/v2/mirror/blobs/sha256:$signed"); kill \$!" \
	"sha256sum debs/$file"

down=${offline:+, while the network was down: in a network namespace without even loopback}
if [ -n "$chroots" ]; then
	echo "2. $pkg $version is installed in root/, which had $base packages and nothing else$down."
	[ -n "$offline" ] || echo "   Left out: taking the network away. This machine makes no network namespaces ($whynot)."
	runs=
	[ "$pkg" != docker.io ] || runs=' && chroot root dockerd --version'
	try "chroot root dpkg-query -W $pkg$runs" "tail -n 4 install.log"
else
	echo "2. The $count packages that $pkg $version needs came out of the layout$down."
	echo "   Left out: installing them, for $noroot${whynot:+; and taking the network away, for this machine makes no network namespaces ($whynot)}. As root: scripts/demo.sh"
	try "${offline:+$offline }../bin/mmoci pull --extract $pkg --host-status none -o again >/dev/null && diff -r debs again && echo the same"
fi

echo "3. One flipped byte, number $((at + 1)) of $pkg in flipped/, is named, with exit code 3; what apt and dpkg know of bare/ is untouched."
try "cmp -l flipped/blobs/sha256/$signed layout/blobs/sha256/$signed" \
	"../bin/mmoci install --root bare --ref oci:flipped:demo $pkg; echo exit \$?; sha256sum -c --quiet bare.sha256 && echo untouched"

echo "4. A container image of $app $app_version: $in_image packages, each proved to be the .deb that $distribution signed, by making its layer again${ran:+; $ran ran it, and it answered}."
[ -n "$ran" ] || echo "   Left out: running it, for $notrun."
try "cat image/image.yaml" "../bin/mmoci image verify oci:images:redis" "../bin/mmoci image sbom oci:images:redis | grep -o 'pkg:deb[^\"]*'" ${ran:+"sh image/run.sh $ran"}

echo "5. All of it took $(($(now) - start)) s: $times."
try "time ../scripts/demo.sh"
