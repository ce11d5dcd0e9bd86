# 85-serve.sh: stock apt-get against mmoci serve, over a real registry and a store, while the tag moves.
#
# UPDATES (default 200) is how many `apt-get update` run while it does.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
updates=${UPDATES:-200}

# --- a site's own packages, growing day by day

# make_deb NAME VERSION BYTES: a .deb in debs/ whose payload cannot be compressed.
make_deb() {
	rm -rf tree
	mkdir -p tree/DEBIAN "tree/usr/share/$1"
	printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Site <site@example.org>\nDescription: %s\n' "$1" "$2" "$arch" "$1" >tree/DEBIAN/control
	head -c "$3" /dev/urandom >"tree/usr/share/$1/payload"
	dpkg-deb --root-owner-group -Znone -b tree debs >/dev/null
}

# make_source NAME VERSION: a source package in debs/.
make_source() {
	mkdir -p "$1-$2/debian"
	echo "$1" >"$1-$2/debian/README"
	tar -cf - "$1-$2" | gzip -n >"debs/$1_$2.tar.gz"
	_f=debs/$1_$2.tar.gz
	_size=$(wc -c <"$_f")
	cat >"debs/$1_$2.dsc" <<-END
		Format: 3.0 (native)
		Source: $1
		Binary: $1
		Architecture: any
		Version: $2
		Maintainer: Site <site@example.org>
		Standards-Version: 4.6.2
		Package-List:
		 $1 deb misc optional arch=any
		Checksums-Sha256:
		 $(sha256sum <"$_f" | cut -d' ' -f1) $_size $1_$2.tar.gz
		Files:
		 $(md5sum <"$_f" | cut -d' ' -f1) $_size $1_$2.tar.gz
	END
}

# push_at TIME: the packages there are, as the snapshot of that time (seconds since 1970), under the tag noble.
push_at() {
	"$mmoci" -q push -f mmoci.yaml --date "$(date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ)" "$registry/site/mirror:noble"
}

mkdir -p debs keys
"$mmoci" key new -o keys/site.asc >&2
printf 'sign: {key: keys/site.asc}\ntrust: [keys/site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >mmoci.yaml
for n in alpha bravo charlie delta echo; do make_deb $n 1.0 20000; done
make_deb large 1.0 3000000
make_source alpha 1.0
registry_start registry registry "$work/blobs"
day=$(date -u -d 2026-01-01 +%s)
push_at "$day" >first.ref

port6=$(free_port)
cat >policy.yaml <<-END
	rules:
	- {name: no-bravo, deny: bravo, reason: use charlie}
	- {name: old-echo, deny: echo, version: "<< 1.1", reason: has a hole}
END
serve_start serve -f mmoci.yaml --policy policy.yaml --follow 1s --listen "[::1]:$port6" "$registry/site/mirror:noble"
serve=${serve%%,*}

# client NAME [URL]: an apt of its own that knows the server's archive alone.
client() {
	apt_own "$1"
	curl -sf "${2:-$serve}/setup/own.sources" -o "$work/$1/sources/own.sources"
}

# --- one client

update() { own apt-get -q update >update.txt 2>&1; updated update.txt; }
client one
check "apt-get update, of what /setup/own.sources says" update

fetched() {
	own apt-get -q -y --download-only install "$@"
	for p; do
		cmp "$work/one/archives/${p}_1.0_$arch.deb" "debs/${p}_1.0_$arch.deb"
	done
}
check "apt-get install --download-only gives the very bytes" fetched alpha charlie
apt_source() {
	mkdir -p source
	(cd source && own apt-get -q --download-only source alpha)
	cmp source/alpha_1.0.tar.gz debs/alpha_1.0.tar.gz
	cmp source/alpha_1.0.dsc debs/alpha_1.0.dsc
}
check "apt-get source" apt_source

hit() {
	update
	not grep '^Get' update.txt
	grep '^Hit' update.txt
	tail -n 1 serve.access | jq -e '.status == 304'
}
check "a second update asks under a condition, and is a 304" hit

resumed() {
	file=large_1.0_$arch.deb
	url=$(own apt-get -q --print-uris download large | cut -d"'" -f2)
	head -c 1000000 "debs/$file" >"one/archives/partial/$file"
	touch -d "$(curl -sfI "$url" | tr -d '\r' | sed -n 's/^[Ll]ast-[Mm]odified: //p')" "one/archives/partial/$file"
	own apt-get -q -y --download-only install large
	cmp "one/archives/$file" "debs/$file"
	tail -n 1 serve.access | jq -e '.status == 206 and .bytes < 2500000'
}
check "a download that broke off is resumed" resumed

piped() {
	rm -f one/archives/*.deb
	own apt-get -q -y -o Acquire::http::Pipeline-Depth=10 -o Debug::Acquire::http=1 --download-only install alpha charlie delta large >piped.txt 2>&1
	# Several questions went out before an answer came.
	awk '/^GET / { asked++ } /^Answer for/ { asked = 0 } asked > most { most = asked } END { print most; exit most < 2 }' piped.txt
	for p in alpha charlie delta large; do cmp "one/archives/${p}_1.0_$arch.deb" "debs/${p}_1.0_$arch.deb"; done
}
check "pipelined questions" piped

nobody_skipped() {
	not own apt-get -q -y --download-only install bravo >denied.txt 2>&1
	grep '403  *Denied by rule no-bravo: use charlie' denied.txt
}
check "apt prints the reason of a 403" nobody_skipped
routed() {
	curl -sf "$serve/setup/policy.pref" -o one/parts/policy.pref
	own apt-cache policy bravo | tee policy.txt
	grep 'Candidate: (none)' policy.txt
	own apt-get -q -y --download-only install alpha delta
	"$mmoci" policy test --policy policy.yaml --ref "$registry/site/mirror:noble" alpha
	refused 1 denied "$mmoci" policy test --policy policy.yaml --ref "$registry/site/mirror:noble" alpha bravo
}
check "with the preferences of /setup/policy.pref apt goes around, and policy test says so" routed
# The host has the preferences of before; what is new and allowed is a candidate all the same.
mended() {
	own apt-cache policy echo >echo.txt
	grep 'Candidate: (none)' echo.txt
	make_deb echo 1.1 20000
	push_at $((day + 3600)) >hour.ref
	sleep 3
	update
	own apt-cache policy echo | tee echo.txt
	grep 'Candidate: 1.1' echo.txt
	own apt-get -q -y --download-only install echo
}
check "a version that is mended is a candidate before the preferences are fetched anew" mended
rm -f one/parts/policy.pref

by_six() {
	curl -sf "http://[::1]:$port6/readyz"
	client six "http://[::1]:$port6"
	grep -F "http://[::1]:$port6/own" six/sources/own.sources
	update
	own apt-get -q -y --download-only install alpha
	"$mmoci" check "http://[::1]:$port6"
}
check "over IPv6" by_six

# A caching proxy between.
proxied() {
	proxy=$(free_port)
	mkdir -p proxy.d
	cat >proxy.conf <<-END
		daemon off; user root; worker_processes 1; pid $work/proxy.d/pid; error_log $work/proxy.error;
		events { worker_connections 256; }
		http {
		  log_format short '\$upstream_cache_status \$status \$uri';
		  access_log $work/proxy.access short;
		  client_body_temp_path $work/proxy.d; proxy_temp_path $work/proxy.d; fastcgi_temp_path $work/proxy.d; uwsgi_temp_path $work/proxy.d; scgi_temp_path $work/proxy.d;
		  proxy_cache_path $work/proxy.d/cache keys_zone=all:1m;
		  proxy_cache all; proxy_cache_revalidate on;
		  server { listen 127.0.0.1:$proxy; location / { proxy_pass http://\$http_host\$request_uri; proxy_set_header Host \$http_host; } }
		}
	END
	start proxy nginx -e "$work/proxy.error" -c "$work/proxy.conf"
	eventually curl -sf -x "http://127.0.0.1:$proxy" "$serve/healthz"
	for c in p1 p2; do
		client $c
		own apt-get -q -o "Acquire::http::Proxy=http://127.0.0.1:$proxy" update >update.txt 2>&1
		updated update.txt
		own apt-get -q -y -o "Acquire::http::Proxy=http://127.0.0.1:$proxy" --download-only install alpha
		cmp "$c/archives/alpha_1.0_$arch.deb" "debs/alpha_1.0_$arch.deb"
	done
	cat proxy.access
	grep -E '^(HIT|REVALIDATED) .*/by-hash/' proxy.access || grep -E '^(HIT|REVALIDATED) ' proxy.access
}
check "through a caching proxy" proxied

# --- thirty days: what the first one had still installs

thirty_days() {
	first=$(curl -sf "$serve/mmoci/statement" | sed -n 's/^date //p')
	old=$(curl -sf "$serve/readyz" | sed -n 's/.*: \([0-9]*T[0-9]*Z-[0-9a-f]*\).*/\1/p')
	echo "$first $old"
	for d in $(seq 1 30); do
		rm -f debs/charlie_*.deb
		make_deb charlie "1.$d" 20000
		push_at $((day + d * 86400)) >today.ref
	done
	eventually sh -c "curl -sf '$serve/readyz' | grep -F 20260131T"
	client today
	update
	own apt-cache policy charlie | grep 'Candidate: 1.30'
	apt_own then
	curl -sf "$serve/snapshot/$old/setup/own.sources" -o then/sources/own.sources
	update
	own apt-cache policy charlie | grep 'Candidate: 1.0'
	own apt-get -q -y --download-only install charlie
	[ "$(dpkg-deb -f "then/archives/charlie_1.0_$arch.deb" Version)" = 1.0 ]
	curl -sf "$serve/snapshot/" | grep -c 'href="[^"]*snapshot/2026' | tee count.txt
	curl -s -o /dev/null -w '%{http_code}\n' "$serve/snapshot/20200101T000000Z-0123456789ab/own/dists/own/InRelease" | grep 404
}
check "thirty daily snapshots: the first one's packages install from /snapshot/, an unknown one is 404" thirty_days

# --- a tag that moves all the time

# mover [AHEAD PAUSE]: a snapshot with one more package, again and again, until the file stop is there.
mover() {
	_t=$((day + 31 * 86400 + ${1:-0}))
	_n=0
	while [ ! -e stop ]; do
		_n=$((_n + 1)) _t=$((_t + 60))
		make_deb "grown${1:-0}-$_n" 1.0 5000
		push_at $_t >/dev/null || echo "push failed"
		sleep "${2:-1}"
	done
	echo "$_n snapshots"
}

# clients URL COUNT [AHEAD PAUSE]: 8 clients that update, and download what is newest, COUNT times in all.
clients() {
	rm -f stop
	(mover "${3:-0}" "${4:-1}" >"mover${3:-0}.txt" 2>&1) &
	_mover=$!
	echo $_mover >>pids
	_all=
	for c in 1 2 3 4 5 6 7 8; do
		client "c$c" "$1"
		(
			for i in $(seq 1 $(($2 / 8))); do
				own apt-get -q -o Acquire::Retries=0 update >"c$c.update" 2>&1 || { cat "c$c.update"; exit 1; }
				grep '^[EW]:' "c$c.update" && exit 1
				rm -f "c$c"/archives/*.deb
				own apt-get -q -y -o Acquire::Retries=0 --download-only install alpha charlie >"c$c.install" 2>&1 || { cat "c$c.install"; exit 1; }
			done
		) >"c$c.txt" 2>&1 &
		_all="$_all $!"
		echo $! >>pids
	done
	_failed=0
	for p in $_all; do wait "$p" || _failed=$((_failed + 1)); done
	: >stop
	wait $_mover || :
	cat c?.txt "mover${3:-0}.txt"
	not grep 'push failed' "mover${3:-0}.txt"
	_moved=$(sed -n 's/ snapshots$//p' "mover${3:-0}.txt")
	[ "$_moved" -ge 2 ] || { echo "the tag moved $_moved times only"; return 1; }
	[ $_failed = 0 ]
}
before=$(wc -l <serve.access)
check "$((updates / 2)) apt-get update and downloads of 8 clients while the tag moves every second" clients "$serve" $((updates / 2))
no_404() { not sh -c "tail -n +$((before + 1)) '$1' | jq -r 'select(.status >= 400) | \"\(.status) \(.path)\"' | grep ."; }
check "not one 404 among the answers" no_404 serve.access

# --- two replicas behind one port

serve_start replica -f mmoci.yaml --follow 3s "$registry/site/mirror:noble"
other=$serve
serve=http://$(listening serve.log)
front=$(free_port)
mkdir -p front.d
cat >front.conf <<END
daemon off; user root; worker_processes 1; pid $work/front.d/pid; error_log $work/front.error;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d; uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
  upstream both { server ${serve#http://}; server ${other#http://}; }
  server { listen 127.0.0.1:$front; location / { proxy_pass http://both; proxy_set_header Host \$http_host; } }
}
END
start front nginx -e "$work/front.error" -c "$work/front.conf"
eventually curl -sf "http://127.0.0.1:$front/healthz"
before=$(wc -l <serve.access)
# A replica that is behind asks for the tag when a client of the other one comes. It finds what that one serves unless the tag
# moved again in the meantime, so the tag rests for longer than that takes on a busy machine.
check "$((updates / 2)) more against two replicas, asked in turn" clients "http://127.0.0.1:$front" $((updates / 2)) 8640000 3
check "not one 404 of the first" no_404 serve.access
before=0
check "not one 404 of the second" no_404 replica.access
alike() {
	eventually sh -c "[ \"\$(curl -sf $serve/mmoci/statement | sha256sum)\" = \"\$(curl -sf $other/mmoci/statement | sha256sum)\" ]"
	for p in own/dists/own/InRelease own/dists/own/main/binary-$arch/Packages.gz own/pool/none.deb; do
		curl -s -D a.head -o a.body "$serve/$p"
		curl -s -D b.head -o b.body "$other/$p"
		sed -i '/^Date:/d' a.head b.head
		cmp a.head b.head
		cmp a.body b.body
	done
}
check "both answer alike, headers too" alike

# --- the registry and the store's disk misbehave

# tells METRIC TEXT: /readyz says the text, and the metric is above 0.
tells() {
	eventually sh -c "curl -sf '$serve/readyz' | grep -F '$2'"
	curl -sf "$serve/metrics" | grep "^$1.* [1-9]"
}

# takes PKG..: apt of the current client gets them, the right bytes.
takes() {
	_dir=$(dirname "$apt_conf")/$(basename "$apt_conf" .conf)
	rm -f "$_dir"/archives/*.deb
	own apt-get -q -y -o Acquire::Retries=0 --download-only install "$@"
	for p; do cmp "$_dir"/archives/"$p"_*.deb debs/"$p"_*.deb; done
}

# retried PKG: apt does not get it, is told why, and asks again.
retried() {
	rm -f "$2"/archives/*.deb
	_asked=$(grep -c "/$1_" "$2.access" || :)
	not own apt-get -q -y -o Acquire::Retries=1 --download-only install "$1" >retried.txt 2>&1
	cat retried.txt
	grep -E '^E: .* 50[0-9] ' retried.txt
	[ $(($(grep -c "/$1_" "$2.access") - _asked)) -ge 2 ] || { echo "apt did not ask again"; return 1; }
}

# A registry of its own, over the same blobs, that can be stopped.
faulty_registry() {
	registry_start faulty registry "$work/blobs"
	faulty=$pid
}

# disk NAME OPTIONS: a small disk as the state directory of the server NAME.
disk() {
	mkdir -p "$1.state"
	mount -t tmpfs -o "$2" tmpfs "$work/$1.state"
	echo "$work/$1.state" >>mounts
}

# serve_again NAME: the same at the same address.
serve_again() {
	_at=$serve
	serve_start "$1" -f mmoci.yaml --listen "${serve#http://}" "$registry/site/mirror:noble"
	serve=$_at
}

# named NAME: the server NAME has given everything that it fetched its final name.
named() { eventually sh -c "[ -z \"\$(find '$work/$1.state/store/tmp' -type f)\" ]"; }

slow() {
	"$mmoci" -q copy "$registry/site/mirror:noble" oci:slow-layout:noble
	: >slow-registry
	start slow-registry.py "$E2E_TOP/scripts/e2e/slow-registry.py" slow-layout slow-registry
	eventually grep -q : slow-registry.py.log
	serve_start slow -f mmoci.yaml "$(cat slow-registry.py.log)/site/mirror:noble"
	echo "$serve" >slow.url
	client slow
	update
	takes alpha
	echo 64 >slow-registry.pace
	curl -s -o late.body -w '%{http_code} %{time_total}\n' "$serve/own/pool/main/large/large_1.0_$arch.deb" >late &
	echo $! >>pids
	for _ in 1 2 3; do
		update
		takes alpha
	done
	jq -s -e 'map(select(.path | test("/alpha_|InRelease"))) | map(.seconds) | max < 1' slow.access
}
check "a registry of 1 KiB a second: what is held comes at once" slow

disk_full() {
	faulty_registry
	disk full size=1m
	serve_start full -f mmoci.yaml "$registry/site/mirror:noble"
	server=$pid
	client full
	update
	takes alpha
	named full
	takes large
	tells mmoci_store_refusing "takes no more"
	# A server that starts on a full disk has what it had.
	stop $server
	head -c 2m /dev/zero >full.state/zeroes || :
	serve_again full
	update
	takes alpha large charlie
	stop $faulty
	takes alpha
}
check "a full disk: what is held is served, also by a server that starts; the rest as long as the registry has it" disk_full

disk_read_only() {
	faulty_registry
	disk readonly size=32m
	serve_start readonly -f mmoci.yaml "$registry/site/mirror:noble"
	server=$pid
	client readonly
	update
	takes alpha
	named readonly
	mount -o remount,ro "$work/readonly.state"
	takes alpha large
	tells mmoci_store_refusing "takes no more"
	stop $server
	serve_again readonly
	tells mmoci_store_read_only "could not be written at the start"
	takes alpha large
	stop $faulty
	takes alpha
}
check "a disk that turns read-only: the same" disk_read_only

damaged() {
	faulty_registry
	serve_start damaged -f mmoci.yaml "$registry/site/mirror:noble"
	client damaged
	update
	takes alpha large
	named damaged
	for f in damaged.state/store/blobs/sha256/*/*; do chmod u+w "$f" && damage "$f" 100; done
	takes alpha large
	curl -sf "$serve/metrics" | grep '^mmoci_store_corrupt_total [1-9]'
	rm -rf damaged.state/store
	takes alpha large
	named damaged
	rm -rf damaged.state/store/blobs
	stop $faulty
	retried large damaged
	tells mmoci_store_fetch_failing "could not be fetched"
	tells mmoci_snapshot_follow_failing "cannot be followed now"
}
check "a store that is corrupted, then deleted: fetched anew, or apt asks again" damaged

# The rest came too late, in its own words, while the checks above went on.
late() {
	eventually test -s late
	cat late late.body
	read -r code seconds <late
	same status 504 "$code"
	grep . late.body
	[ "${seconds%.*}" -lt 20 ]
	serve=$(cat slow.url)
	tells mmoci_late_total "sent away"
}
check "and the rest of it is a 504 before apt is tired of waiting" late

# --- the registry goes away

away() {
	curl -sf "$serve/own/dists/own/InRelease" -o here
	kill "$(head -n 1 pids)"
	sleep 1
	curl -sf "$serve/own/dists/own/InRelease" | cmp - here
	client last
	update
	own apt-get -q -y --download-only install alpha
	code=$(curl -s -o body -w '%{http_code}' --max-time 25 "$serve/own/pool/main/grown0-1/grown0-1_1.0_$arch.deb")
	case $code in 200) : ;; 50?) [ -s body ] ;; *) echo "$code"; return 1 ;; esac
	eventually sh -c "curl -sf $serve/readyz | grep -F 'cannot be followed now'"
	curl -sf "$serve/metrics" | grep '^mmoci_snapshot_follow_failing.* 1$'
	# And one that starts while it is away, with the state it left.
	stop "$(sed -n 2p pids)"
	serve_start again -f mmoci.yaml --state "$work/serve.state" "$registry/site/mirror:noble"
	curl -sf "$serve/own/dists/own/InRelease" | cmp - here
	client again2
	update
	own apt-get -q -y --download-only install alpha
}
check "without the registry what is held is served, also by a server that starts" away
