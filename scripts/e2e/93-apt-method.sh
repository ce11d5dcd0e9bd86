# 93-apt-method.sh: apt installs straight from a registry, with mmoci as its method: nothing of ours serves.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/tree-nginx.sh"

site
registry_start v3 registry "$work/storage"
v3=$registry v3_pid=$pid
"$mmoci" copy -q "oci:$shared/layout:docker" "$v3/site/mirror:docker" >&2
"$mmoci" copy -q "oci:$shared/layout:site" "$v3/site/mirror:site" >&2

# apt's own methods and ours.
mkdir -p methods
for m in /usr/lib/apt/methods/*; do ln -s "$m" methods/; done
ln -sf "$mmoci" methods/oci
ln -sf "$mmoci" methods/oci+http

# apt_oci NAME REF [ARGUMENT..]: an apt of its own, in the state of the host, with the sources that host sources --oci writes for REF.
apt_oci() {
	apt_own "$1"
	cp /var/lib/dpkg/status "$work/$1/status"
	echo "Dir::Bin::methods \"$work/methods\";" >>"$apt_conf"
	_to=$1 _ref=$2
	shift 2
	mkdir -p "$_to/target/etc/apt"
	"$mmoci" host sources --oci --root "$_to/target" --keyring "$sitekey" "$@" "$_ref"
	cp "$_to"/target/etc/apt/sources.list.d/*.sources "$_to/sources/"
}
# update NAME: apt-get update of the last apt; what it printed is in NAME.out.
update() {
	own apt-get -q -o APT::Update::Error-Mode=any update >"$1.out" 2>&1 || { cat "$1.out"; return 1; }
	updated "$1.out"
}
wanted() { own apt-get -q -y --no-install-recommends --reinstall "$@"; }
# asked FILE: what the registry was asked for since the last call.
asked() {
	grep -o '"\(GET\|HEAD\) /v2/[^ ]*' v3.log >asked.now || :
	tail -n "+$(($(wc -l <asked.before) + 1))" asked.now | tee "$1"
	mv asked.now asked.before
}
: >asked.before

# --- update and install

installs() {
	apt_oci plain "$v3/site/mirror:docker"
	grep "^URIs: oci+http://$v3/site/mirror:docker/debian\$" plain/sources/*.sources
	asked before.asked
	update plain
	asked update.asked
	same "roots and cores asked for" 2 "$(grep -c /manifests/ update.asked)"
	not grep HEAD update.asked
	wanted --download-only install docker.io containerd
	asked install.asked
	not grep /manifests/ install.asked
	# The bytes are those of the snapshot.
	"$mmoci" pull "oci:$shared/layout:docker" --keyring "$sitekey" --extract docker.io,containerd --host-status none -o debs
	for d in plain/archives/*.deb; do
		cmp "$d" debs/"$(dpkg-deb -f "$d" Package)"_*.deb
	done
	ls plain/archives/docker.io_*.deb plain/archives/containerd_*.deb
}
check "update and install of docker.io, by the site's key: root and core are asked for once, debs by digest alone" installs

unchanged() {
	apt_oci plain "$v3/site/mirror:docker"
	asked before.asked
	update again
	grep '^Hit:' again.out
	not grep '^Get:' again.out
	not grep 'Packages' again.out
	asked hit.asked
	[ "$(wc -l <hit.asked)" -le 3 ]
}
check "a second update finds nothing new, with root, core and statement" unchanged

# --- by digest, upstream's view, a moving tag

pinned() {
	ref=$v3/site/mirror@$(cat "$shared/docker.ref" | sed 's/.*@//')
	apt_oci pinned "$ref"
	grep "^URIs: oci+http://$ref/debian\$" pinned/sources/*.sources
	update pinned
	wanted --download-only install runc
}
check "a source by digest" pinned

upstreams() {
	apt_oci upstream "$v3/site/mirror:docker" --upstream --keyring debian=/usr/share/keyrings/debian-archive-keyring.gpg \
		--keyring debian-security=/usr/share/keyrings/debian-archive-keyring.gpg
	grep "^URIs: oci+http://$v3/site/mirror:docker/upstream/debian\$" upstream/sources/*.sources
	update upstream
	wanted --download-only install runc
}
check "upstream's view, by Debian's own key" upstreams

moved() {
	apt_oci moved "$v3/site/mirror:docker"
	"$mmoci" tag digest "$v3/site/mirror:docker"
	update moved
	crane tag --insecure "$v3/site/mirror:site" docker
	wanted --download-only install runc
	update moved
	wanted --download-only install hello
}
check "a tag that moves between update and install does no harm; the next update has the new snapshot" moved

# --- faults

wrong() {
	apt_oci wrong "$v3/site/mirror:docker"
	update wrong
	sum=$(own apt-cache show runc | sed -n 's/^SHA256: //p' | head -n 1)
	data=storage/docker/registry/v2/blobs/sha256/$(echo "$sum" | cut -c1-2)/$sum/data
	cp "$data" good
	damage "$data" 5000
	got=0
	wanted --download-only install runc >wrong.err 2>&1 || got=$?
	cp good "$data"
	cat wrong.err
	same "exit" 100 "$got"
	same "lines with the reason" 1 "$(grep -c "^E: .*the registry's bytes of blob sha256:$sum are sha256:" wrong.err)"
	not ls wrong/archives/runc_*.deb
	wanted --download-only install runc
}
check "a flipped byte of a .deb is refused in one line that names both digests; when it is right again, apt goes on" wrong

wrong_release() {
	apt_oci release "$v3/site/mirror:docker"
	sum=$(crane manifest --insecure "$v3/site/mirror:docker" | jq -r '.manifests[0].digest')
	sum=$(crane manifest --insecure "$v3/site/mirror@$sum" | jq -r '.layers[3:][].digest' | sed 's/.*://')
	[ -n "$sum" ]
	for s in $sum; do f=storage/docker/registry/v2/blobs/sha256/$(echo "$s" | cut -c1-2)/$s/data && cp "$f" "$f.good" && damage "$f" 99; done
	got=0
	own apt-get -q -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update >release.err 2>&1 || got=$?
	for s in $sum; do f=storage/docker/registry/v2/blobs/sha256/$(echo "$s" | cut -c1-2)/$s/data && mv "$f.good" "$f"; done
	cat release.err
	same "exit" 100 "$got"
	grep "the registry's bytes of blob sha256:" release.err
	update release
}
check "a damaged signature file is named" wrong_release

resumes() {
	apt_oci resume "$v3/site/mirror:docker"
	update resume
	name=$(own apt-get -q --print-uris -y --reinstall --no-install-recommends install runc 2>/dev/null | awk '/runc_/ { print $2 }')
	head -c 1000000 plain/archives/"$name" 2>/dev/null >"resume/archives/partial/$name" || head -c 1000000 moved/archives/"$name" >"resume/archives/partial/$name"
	sent() { awk '/blobs\/sha256/ { n += $10 } END { print n + 0 }' v3.log; }
	before=$(sent)
	wanted --download-only install runc
	moved_bytes=$(($(sent) - before)) size=$(stat -c %s resume/archives/runc_*.deb)
	echo "$moved_bytes of $size bytes"
	[ "$moved_bytes" -le $((size - 1000000)) ]
	cmp resume/archives/runc_*.deb moved/archives/runc_*.deb
	# What is there may be another file's begin.
	apt_oci resume2 "$v3/site/mirror:docker"
	update resume2
	head -c 1000000 /dev/zero >"resume2/archives/partial/$name"
	wanted --download-only install runc
	cmp resume2/archives/runc_*.deb moved/archives/runc_*.deb
}
check "a file that is there in part is gone on with, and begun again if what is there is wrong" resumes

# Killed again and again, apt and with it the method: what came is kept, and in the end it is all right.
seed=${MMOCI_SEED:-$$}
kills() {
	echo "seed $seed"
	apt_oci kills "$v3/site/mirror:docker"
	update kills
	for i in 1 2 3 4 5 6; do
		wait_ms=$((150 + (seed * 7919 + i * 104729) % 500))
		APT_CONFIG=$apt_conf timeout -s KILL "0.$(printf %03d $wait_ms)" apt-get -q -y --no-install-recommends --reinstall --download-only install docker.io containerd || :
		ls -l kills/archives/partial
	done
	wanted --download-only install docker.io containerd
	for d in kills/archives/*.deb; do cmp "$d" "plain/archives/$(basename "$d")"; done
	eventually not pgrep -f "^$work/methods/oci"
}
check "apt killed at six moments (seed $seed): it goes on, the bytes are right, no method is left behind" kills

down() {
	apt_oci down "$v3/site/mirror:docker"
	sed -i "s|$v3|127.0.0.1:9|" down/sources/*.sources
	got=0
	own apt-get -q -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update >down.err 2>&1 || got=$?
	cat down.err
	same "exit" 100 "$got"
	grep 'connection refused' down.err
	sed -i "s|127.0.0.1:9/site/mirror:docker|$v3/site/mirror:none|" down/sources/*.sources
	own apt-get -q update >down.err 2>&1 || got=$?
	cat down.err
	grep '404 .*has no tag none' down.err
}
check "no registry, and no tag: apt says which" down

# --- what apt does not expect, and hostile sources

uris() {
	apt_own hostile
	echo "Dir::Bin::methods \"$work/methods\";" >>"$apt_conf"
	while read -r uri text; do
		printf 'deb [trusted=yes] %s bookworm main\n' "$uri" >hostile/sources/x.list
		own apt-get -q -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update >uri.err 2>&1 && { echo "taken: $uri"; cat uri.err; return 1; }
		cat uri.err
		grep -q "$text" uri.err || { echo "$uri: does not say: $text"; return 1; }
		not grep -q 'died unexpectedly\|general failure\|secret' uri.err
	done <<-URIS
		oci+http://$v3/site/mirror/debian neither
		oci+http://user:secret@$v3/site/mirror:docker/debian credentials
		oci+http://$v3/Site/mirror:docker/debian write.oci://
		oci+http://$v3/site/mirror@sha256:abcd/debian write.oci://
		oci+http://$v3/site/mirror:docker/debian/../../x part
		oci+http://$v3/site/mirror:docker/elsewhere no.archive
	URIS
}
check "a source without tag, with a password, with a wrong digest: refused with what to write" uris

messages() {
	for bad in 'GET / HTTP/1.1' '600 URI Acquire
URI: oci+http://x/y:z/a' '600 URI Acquire
Filename' '999' '601 Configuration
Config-Item: APT::Sandbox::User=nobody-of-that-name'; do
		got=0
		printf '%s\n\n' "$bad" | "$work/methods/oci" >message.out 2>message.err || got=$?
		cat message.out message.err
		grep -q '^401 General Failure' message.out || [ "$bad" = 999 ]
		[ ! -s message.err ]
	done
	printf '601 Configuration\nConfig-Item: APT::Sandbox::User=root\n\n' | "$work/methods/oci"
}
check "messages that are none end in one line of apt's protocol, never in a trace" messages

# --- credentials and rights

in_sandbox() {
	new_root sandbox
	rm -rf "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/auth.conf.d
	install -m 755 "$mmoci" "$root/usr/bin/mmoci"
	for m in oci oci+http; do ln -s ../../../bin/mmoci "$root/usr/lib/apt/methods/$m"; done
	mkdir -p "$root/etc/apt/auth.conf.d"
	htpasswd=$(openssl passwd -apr1 geheim)
	port=$(free_port)
	cat >auth.nginx <<-CONF
		daemon off; user root; worker_processes 1; pid $work/auth.pid; error_log $work/auth.error;
		events { worker_connections 256; }
		http {
		  access_log $work/auth.access; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
		  server { listen 127.0.0.1:$port; location / { auth_basic r; auth_basic_user_file $work/htpasswd; proxy_set_header Host \$http_host; proxy_pass http://$v3; } }
		}
	CONF
	printf 'apt:%s\n' "$htpasswd" >htpasswd
	start auth nginx -e "$work/auth.error" -c "$work/auth.nginx"
	auth=127.0.0.1:$port
	eventually grep -q . auth.pid
	"$mmoci" host sources --oci --root "$root" --keyring "$sitekey" "$v3/site/mirror:docker"
	sed -i "s|$v3|$auth|" "$root"/etc/apt/sources.list.d/*.sources
	# without, with one for TLS alone, and with the right one, which root alone can read
	refused_update() {
		got=0
		in_root apt-get -q -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update >sandbox.err 2>&1 || got=$?
		cat sandbox.err
		[ $got = 100 ]
		grep -q "$1" sandbox.err
	}
	refused_update 'basic credential not found\|401'
	printf 'machine %s login apt password geheim\n' "$auth" >"$root/etc/apt/auth.conf.d/site.conf"
	chmod 600 "$root/etc/apt/auth.conf.d/site.conf"
	refused_update 'for TLS alone: write machine oci+http://'
	printf 'machine oci+http://%s login apt password geheim\n' "$auth" >"$root/etc/apt/auth.conf.d/site.conf"
	in_root apt-get -q -o APT::Update::Error-Mode=any update >sandbox.out 2>&1 || { cat sandbox.out; return 1; }
	updated sandbox.out
	rm "$root/etc/apt/auth.conf.d/site.conf"
	mkdir -p "$root/etc/mmoci"
	printf '{"auths": {"%s": {"auth": "%s"}}}' "$auth" "$(printf apt:geheim | base64)" >"$root/etc/mmoci/auth.json"
	chmod 600 "$root/etc/mmoci/auth.json"
	in_root apt-get -q -y --no-install-recommends install hello
	in_root hello
	healthy
}
check "in a root: rights given up, credentials of auth.conf and auth.json that root alone can read, hello installed" in_sandbox

drops() {
	mkfifo talk
	"$work/methods/oci" <talk >talk.out &
	method=$!
	exec 9>talk
	printf '601 Configuration\nConfig-Item: APT::Sandbox::User=_apt\n\n' >&9
	uid=$(id -u _apt)
	eventually grep -q "^Uid:.$uid.$uid.$uid.$uid" "/proc/$method/status"
	cat "/proc/$method/status" | grep '^Uid\|^Gid\|^Groups\|^NoNewPrivs\|^CapEff'
	for t in /proc/$method/task/*; do
		grep -q "^Uid:.$uid.$uid.$uid.$uid" "$t/status"
		grep -q '^NoNewPrivs:.1' "$t/status"
		grep -q '^CapEff:.0000000000000000' "$t/status"
	done
	exec 9>&-
	wait $method
}
check "as root it becomes _apt in every thread, without a way back" drops

apt3() {
	if [ ! -e "$E2E_CACHE/apt3.tar" ]; then
		mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n1)
		mmdebstrap --quiet --mode=root --variant=apt --include=faketime trixie "$E2E_CACHE/apt3.part" --format=tar "$mirror"
		mv "$E2E_CACHE/apt3.part" "$E2E_CACHE/apt3.tar"
	fi
	root=$work/apt3
	mkdir "$root"
	tar -xf "$E2E_CACHE/apt3.tar" -C "$root" --exclude './dev/*'
	for m in /dev /proc; do
		mount --bind "$m" "$root$m"
		echo "$root$m" >>mounts
	done
	in_root apt-get --version | grep '^apt 3'
	install -m 755 "$mmoci" "$root/usr/bin/mmoci"
	for m in oci oci+http; do ln -s ../../../bin/mmoci "$root/usr/lib/apt/methods/$m"; done
	"$mmoci" host sources --oci --alone --root "$root" --keyring "$sitekey" "$v3/site/mirror:site"
	in_root apt-get -q -o APT::Update::Error-Mode=any update >apt3.out 2>&1 || { cat apt3.out; return 1; }
	updated apt3.out
	in_root apt-get -q -y --no-install-recommends install hello
	in_root hello
	in_root apt-get -q update | tee apt3.again
	grep '^Hit:' apt3.again
	not grep '^Get:' apt3.again
	"$mmoci" host undo --root "$root"
	not ls "$root"/etc/apt/sources.list.d/mmoci-*
}
check "apt 3: update, hello installed, nothing the second time, undo" apt3

# While that root is there: apt 3 with a front's list of mirrors. One of the two is dead to apt, and the front does not know: it hangs
# up on apt alone.
apt3_list() {
	root=$work/apt3
	"$mmoci" export --static listed --apt "oci:$shared/layout:site"
	for m in good bad; do
		case $m in good) host=127.0.0.11 ;; bad) host=127.0.0.12 ;; esac
		host=$host:$(free_port)
		tree_nginx $m "$host" "$work/listed"
		echo "- {name: $m, url: \"http://$host/\", allow-http: yes, apt: \"apt/mirror:site\"}" >>mirrors.yaml
	done
	sed -i "s|listen $host;|& if (\$http_user_agent ~ APT-HTTP) { return 444; }|" bad.static
	kill -HUP "$(cat bad.pid)"
	hung_up() { ! curl -s -o bad.answer -A "Debian APT-HTTP/1.3" "http://$host/v2/"; }
	eventually hung_up
	serve_start listing --registry --mirrors mirrors.yaml "$v3/site/mirror:site"
	eventually curl -sf "$serve/readyz"
	same "mirrors in the list" 2 "$(curl -sf "$serve/setup/debian.mirrors" | grep -c 'apt/mirror:site/debian/')"
	rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists
	cp "$sitekey" "$root/etc/apt/keyrings/site.asc"
	echo "deb [signed-by=/etc/apt/keyrings/site.asc] mirror+$serve/setup/debian.mirrors bookworm main" >"$root/etc/apt/sources.list.d/site.list"
	echo 'Acquire::Retries "0";' >"$root/etc/apt/apt.conf.d/site" # as artifacts/docs/mirrors.md says
	in_root apt-get -q -o APT::Update::Error-Mode=any update >apt3.out 2>&1 || { cat apt3.out; return 1; }
	updated apt3.out
	: >good.access
	# apt draws a mirror for each file: again, should it have drawn none from the dead one.
	for _ in 1 2 3 4 5; do
		rm -rf "$root/tmp/got"
		in_root sh -c 'mkdir /tmp/got && cd /tmp/got && for p in adduser base-files dash debconf grep gzip hello hostname login sed sysvinit-utils tar; do echo $p/bookworm; done | xargs apt-get -q download'
		! grep -q '^444 .*GET /apt/mirror:site/debian/pool/' bad.access || break
	done
	in_root apt-get clean
	in_root apt-get -q -y --reinstall install hello
	in_root hello
	for d in "$root"/tmp/got/*.deb; do test -e "listed/blobs/sha256/$(sha256sum <"$d" | cut -d' ' -f1)"; done
	same "packages" 12 "$(ls "$root"/tmp/got/*.deb | wc -l)"
	# The one hung up on some, and all came from the other.
	grep -q '^444 .*GET /apt/mirror:site/debian/pool/' bad.access
	[ "$(grep -c '^200 .*GET /apt/mirror:site/debian/pool/' good.access)" -ge 13 ]
	not grep '"GET","path":"/debian/pool/' listing.access
	# The other lacks half of them, too. By default apt 2.6 then waits for ever, more often than not; not as the list says.
	cp -al listed behind
	find behind/apt/mirror:site/debian/pool/ -name '[a-h]*.deb' -delete
	sed -i "s|$work/listed;|$work/behind;|" good.static
	kill -HUP "$(cat good.pid)"
	apt_own behind26
	echo "deb [signed-by=$sitekey] mirror+$serve/setup/debian.mirrors bookworm main" >behind26/sources/site.list
	curl -sf "$serve/setup/debian.mirrors" | sed -n 's/^# In .etc.apt.apt.conf.d: \(.*;\) else .*/\1/p' >>behind26.conf
	grep 'Retries "0"' behind26.conf
	own apt-get -q update
	for _ in 1 2 3; do
		rm -rf got && mkdir got
		(cd got && own timeout 30 apt-get -q download adduser base-files dash debconf grep gzip hello hostname login sed sysvinit-utils tar)
		same "packages" 12 "$(ls got/*.deb | wc -l)"
	done
	stop "$pid"
}
check "apt 3 with a front's list of two mirrors, one of which is dead: update, 12 packages, hello installed; apt 2.6, where the other lacks half" apt3_list

# --- speed and memory, against apt's own http from nginx

"$mmoci" pull -q "oci:$shared/layout:docker" --keyring "$sitekey" -o tree >&2
nginx_start tree "$work/tree"
pairs=3 bar=115
[ -z "${E2E_LONG:-}" ] || pairs=7
crane tag --insecure "$v3/site/mirror@$(sed 's/.*@//' "$shared/docker.ref")" docker
apt_oci fast "$v3/site/mirror:docker" >&2
cp -r fast/sources fast.oci
cp -r fast/sources fast.http
sed -i "s|oci+http://$v3/site/mirror:docker|$nginx|" fast.http/*
: >fast/status # all of it
# round KIND: $took, in ms, for an update and the download of every .deb of the snapshot.
round() {
	rm -rf fast/lists fast/archives fast/sources fast/*.bin
	mkdir -p fast/lists/partial fast/archives/partial
	cp -r "fast.$1" fast/sources
	_began=$(date +%s%N)
	own apt-get -q update >fast.log 2>&1
	(cd fast/archives && own apt-get -q download $(own apt-cache pkgnames) >>"$work/fast.log" 2>&1)
	took=$((($(date +%s%N) - _began) / 1000000))
	n=$(ls fast/archives/*.deb | wc -l)
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
speed() {
	: >oci.ms
	: >http.ms
	for _ in $(seq $pairs); do
		round http && echo "$took" >>http.ms && had=$n
		round oci && echo "$took" >>oci.ms
		same ".debs" "$had" "$n"
	done
	echo "$n .debs: method $(median oci.ms) ms, http from nginx $(median http.ms) ms" | tee speed.line
	[ $(($(median oci.ms) * 100)) -le $(($(median http.ms) * bar)) ]
}
check "update and all .debs: at most $bar % of apt's http from the same bytes in nginx" speed
sed 's/^/   /' speed.line

memory() {
	mkfifo talk2
	"$work/methods/oci+http" <talk2 >talk2.out &
	method=$!
	exec 8>talk2
	printf '601 Configuration\nConfig-Item: APT::Sandbox::User=root\n\n' >&8
	mkdir -p all
	for d in fast/archives/*.deb; do
		printf '600 URI Acquire\nURI: oci+http://%s/site/mirror:docker/debian/x\nFilename: %s\nExpected-SHA256: %s\nExpected-Checksum-FileSize: %s\n\n' \
			"$v3" "$work/all/$(basename "$d")" "$(sha256sum <"$d" | cut -d' ' -f1)" "$(stat -c %s "$d")" >&8
	done
	for i in $(seq 100); do [ "$(ls fast/archives/*.deb | wc -l)" != "$(grep -c '^201' talk2.out)" ] || break; sleep 0.2; done
	same "done" "$(ls fast/archives/*.deb | wc -l)" "$(grep -c '^201' talk2.out)"
	kb=$(awk '/VmHWM/ { print $2 }' "/proc/$method/status")
	exec 8>&-
	wait $method
	echo "all at once: $kb KiB at most" | tee memory.line
	for d in fast/archives/*.deb; do cmp "$d" "all/$(basename "$d")"; done
	[ "$kb" -le 65536 ]
}
check "all .debs asked for at once: at most 64 MiB of memory" memory
sed 's/^/   /' memory.line
stop "$v3_pid"
