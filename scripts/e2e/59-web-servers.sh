# 59-web-servers.sh: a tree that `pull -o` brings up to date each day, behind other people's web servers. apt, wget -N and
# apt-mirror follow it: each day they have that day's packages, never older ones without a word.
#
# E2E_LONG=1: 30 days instead of 4. E2E_SEED: the days of an earlier run again.
set -eu
# In a network of its own: apt-mirror leaves the port out of its paths, so that each server wants a port 80.
[ -n "${unshared:-}" ] || unshared=1 exec unshare -n sh "$0"
ip link set lo up
. "$E2E_TOP/scripts/e2e/lib.sh"
days=4
[ -z "${E2E_LONG:-}" ] || days=30
seed=${E2E_SEED:-$(date +%s)}
say "seed $seed"

"$mmoci" key new -o site.asc >&2
cat >own.yaml <<-END
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- prefix: own
	  mode: curated
	  debs: $work/debs
END

# A line a day: date, state of the packages, how many there are, when a first pull is killed. Days are a second or some
# days apart, packages come or go, or have other versions. -: no date is given, so that push makes the next one.
python3 - "$seed" "$days" >days.txt <<-'END'
	import datetime, random, sys
	r = random.Random(int(sys.argv[1]))
	date, state, count, apart = datetime.datetime(2026, 1, 1), 1, 20, 0
	for _ in range(int(sys.argv[2])):
	    print("-" if apart == 1 else date.strftime("%Y-%m-%dT%H:%M:%SZ"), state, count, "%.3f" % r.uniform(0, 0.15))
	    apart = r.choice([1, 2, 86400, r.randrange(2, 300000)])
	    date += datetime.timedelta(seconds=apart)
	    before = state, count
	    while (state, count) == before:
	        state, count = state + r.choice([0, 1, 1, 7]), r.randrange(12, 30)
END

# --- the servers

CGO_ENABLED=0 GOFLAGS=-buildvcs=false "${GO:-go}" build -C "$E2E_TOP" -o "$work/fileserver" ./scripts/e2e/fileserver
mkdir -p tree
urls=
# behind NAME ADDRESS: notes a server at port 80 of that address, which is of loopback.
behind() {
	urls="$urls $1=http://$2"
	eventually curl -s -o /dev/null "http://$2/"
}
cat >apache.conf <<-END
	ServerRoot "$work"
	ServerName 127.0.0.2
	PidFile "$work/apache.pid"
	ErrorLog "$work/apache.error"
	DefaultRuntimeDir "$work"
	LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
	LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
	User www-data
	Group www-data
	Listen 127.0.0.2:80
	DocumentRoot "$work/tree"
	<Directory "$work/tree">
	  Require all granted
	</Directory>
END
start apache apache2 -f "$work/apache.conf" -D FOREGROUND
behind apache 127.0.0.2
start go ./fileserver 127.0.0.3:80 tree
behind go 127.0.0.3
start python python3 -m http.server --bind 127.0.0.4 -d tree 80
behind python 127.0.0.4
printf 'server.document-root = "%s/tree"\nserver.port = 80\nserver.bind = "127.0.0.5"\n' "$work" >lighttpd.conf
start lighttpd lighttpd -D -f lighttpd.conf
behind lighttpd 127.0.0.5
mkdir nginx.d
cat >nginx.conf <<-END
	daemon off;
	user root;
	worker_processes 1;
	pid $work/nginx.d/pid;
	error_log $work/nginx.error;
	events { worker_connections 256; }
	http {
	  access_log off;
	  client_body_temp_path $work/nginx.d; proxy_temp_path $work/nginx.d; fastcgi_temp_path $work/nginx.d;
	  uwsgi_temp_path $work/nginx.d; scgi_temp_path $work/nginx.d;
	  server { listen 127.0.0.6:80; root $work/tree; }
	}
END
start nginx nginx -e "$work/nginx.error" -c "$work/nginx.conf"
behind nginx 127.0.0.6

# --- the clients, one of each kind behind each server

# client NAME URL: an apt of its own, and an apt-mirror.
client() {
	apt_own "apt-$1"
	printf 'deb [signed-by=%s] %s/own own main\n' "$work/site.pub.asc" "$2" >"apt-$1/sources/own.list"
	mkdir -p "mirror-$1/mirror" "mirror-$1/skel" "mirror-$1/var"
	cat >"mirror-$1.list" <<-END
		set base_path $work/mirror-$1
		set defaultarch $arch
		set nthreads 4
		set run_postmirror 0
		set _tilde 0
		deb $2/own own main
	END
}
# with_apt NAME: apt-get update, and the packages that apt knows then.
with_apt() {
	apt_conf=$work/apt-$1.conf
	own apt-get -q update >"apt-$1.out" 2>&1 || { cat "apt-$1.out"; return 1; }
	updated "apt-$1.out"
	own apt-cache dumpavail | awk '/^Package:/ { p = $2 } /^Version:/ { print p, $2 }' | LC_ALL=C sort >"apt-$1.seen"
	diff today.txt "apt-$1.seen"
}
# with_wget NAME URL: the files that a script would fetch if they are newer.
with_wget() {
	wget -q -N -x -nH -P "wget-$1" "$2/own/dists/own/InRelease" "$2/own/dists/own/Release" "$2/own/dists/own/main/binary-$arch/Packages.gz"
	(cd "wget-$1" && find . -type f) | while read -r f; do cmp "tree/$f" "wget-$1/$f" || exit 1; done
}
# with_apt_mirror NAME URL: a mirror of the tree, from which each package that it names can be had.
with_apt_mirror() {
	apt-mirror "mirror-$1.list" >"mirror-$1.out" 2>&1 || { cat "mirror-$1.out"; return 1; }
	_top=mirror-$1/mirror/${2#http://}/own
	cmp tree/own/dists/own/InRelease "$_top/dists/own/InRelease"
	zcat "$_top/dists/own/main/binary-$arch/Packages.gz" | awk '/^Package:/ { p = $2 } /^Version:/ { print p, $2 }' | LC_ALL=C sort | diff today.txt -
	zcat "$_top/dists/own/main/binary-$arch/Packages.gz" | awk '/^Filename:/ { f = $2 } /^SHA256:/ { print $2 "  " f }' | (cd "$_top" && sha256sum --quiet -c)
}

pull() { "$mmoci" pull -q oci:layout:day -f own.yaml -o tree; }
# publish DATE STATE COUNT: pushes a day.
publish() {
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" "$2" "$3"
	[ "$1" = - ] || set -- "$@" --date "$1"
	shift 3
	"$mmoci" push -q -f own.yaml "$@" oci:layout:day
	packages debs >today.txt
}
# as_before: the tree as earlier versions wrote it: times made of digests, no by-hash names, no record.
as_before() {
	rm -rf tree/.mmoci
	find tree -type d -name by-hash -prune -exec rm -r {} +
	python3 - tree <<-'END'
		import hashlib, os, sys
		for top, _, names in os.walk(sys.argv[1]):
		    for name in names:
		        file = os.path.join(top, name)
		        t = 946684800 + (int.from_bytes(hashlib.sha256(open(file, "rb").read()).digest()[:4], "big") >> 4)
		        os.utime(file, (t, t))
	END
}

# held: what clients may ask for that have read the tree before it is brought up to date: its pool and by-hash names.
held() {
	if [ -e tree/.mmoci/files ]; then
		awk '$1 == "has" { print $4 }' tree/.mmoci/files
	else
		(cd tree && find own -type f)
	fi | grep -e /pool/ -e /by-hash/
}

# Our own server follows the same tag.
serve_too() {
	serve_start serve oci:layout:day -f own.yaml --follow 1s --listen 127.0.0.7:80
	behind serve 127.0.0.7
}
serves_today() { curl -sf "http://127.0.0.7/own/dists/own/InRelease" | cmp - tree/own/dists/own/InRelease; }

# a_day NUMBER: the tree is brought up to date, after a first try that was killed; then everybody comes.
a_day() {
	# shellcheck disable=SC2046 # four fields
	set -- "$1" $(sed -n "$1p" days.txt)
	echo "day $*"
	[ "$1" = 1 ] || held >held.txt
	publish "$2" "$3" "$4"
	if [ "$1" = 1 ]; then
		pull
		as_before
	else
		if ! timeout -s KILL "$5" "$mmoci" pull -q oci:layout:day -f own.yaml -o tree; then
			for u in $urls; do # the tree of yesterday or of today, never one that is broken
				apt_conf=$work/apt-${u%%=*}.conf
				own apt-get -q update >killed.txt 2>&1 || { cat killed.txt; exit 1; }
				updated killed.txt
			done
			pull
		fi
		while read -r f; do [ -f "tree/$f" ] || { echo "$f is gone"; exit 1; }; done <held.txt
	fi
	[ "$1" != 1 ] || serve_too
	eventually serves_today
	for u in $urls; do
		echo "day $1, behind ${u%%=*}"
		[ "$1" != 1 ] || client "${u%%=*}" "${u#*=}"
		with_apt "${u%%=*}"
		with_wget "${u%%=*}" "${u#*=}"
		with_apt_mirror "${u%%=*}" "${u#*=}"
	done
}
followed() {
	for day in $(seq "$days"); do a_day "$day"; done
}
check "apt, wget -N and apt-mirror follow $days days behind Apache, Go, Python, lighttpd, nginx and serve (seed $seed)" followed
