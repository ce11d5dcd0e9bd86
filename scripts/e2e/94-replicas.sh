# 94-replicas.sh: three servers behind nginx with the file that is shipped: their stores add up, the registry gives each
# file once, and one that is killed while clients read costs none of them anything.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
clients=16
[ -z "${E2E_LONG:-}" ] || clients=50
seed=${E2E_SEED:-$(date +%s)}
say "seed $seed"

site
registry_start origin registry "$work/origin"
origin=$registry
"$mmoci" copy "oci:$shared/layout:docker" "$origin/site/mirror:noble" >/dev/null
for n in 1 2 3; do
	serve_start "replica$n" -f "$shared/docker.yaml" --prefetch none --trusted-proxy 127.0.0.1 "$origin/site/mirror:noble"
	eventually curl -sf "$serve/readyz"
	eval "replica$n=${serve#http://} pid$n=$pid"
done
at=127.0.0.1:$(free_port)
mkdir -p front.d
# shellcheck disable=SC2154 # set by eval
sed -e "s|listen 80;|listen $at;|; s|192.0.2.11:8000|$replica1|; s|192.0.2.12:8000|$replica2|; s|192.0.2.13:8000|$replica3|" "$E2E_TOP/artifacts/nginx/replicas.conf" >replicas.conf
cat >front.conf <<END
daemon off; user root; worker_processes 1; pid $work/front.d/pid; error_log $work/front.error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d; uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
  include $work/replicas.conf;
}
END
start front nginx -e "$work/front.error" -c "$work/front.conf"
eventually curl -sf "http://$at/healthz"

"$mmoci" ls "oci:$shared/layout:docker" >/dev/null
for p in $(sed -n 's/^- prefix: //p' "$shared/docker.yaml"); do
	for s in bookworm bookworm-security bookworm-updates; do
		curl -sf "http://$at/$p/dists/$s/main/binary-$arch/Packages.gz" | gzip -d 2>/dev/null |
			awk -v p="$p" '/^Filename:/ { f = $2 } /^Size:/ { size = $2 } /^SHA256:/ { print $2, size, p "/" f }'
	done
done >pool.txt
[ -s pool.txt ] || die "no packages"
whole=$(awk '{ n += $2 } END { print n }' pool.txt)

# Each client reads all packages in an order of its own, and hashes them.
cat >client.py <<'END2'
import hashlib, random, sys, urllib.request
at, seed, number = sys.argv[1:]
lines = [l.split() for l in open("pool.txt")]
random.Random(seed + number).shuffle(lines)
for sum, size, file in lines:
    got = urllib.request.urlopen("http://%s/%s" % (at, file), timeout=60).read()
    if hashlib.sha256(got).hexdigest() != sum:
        sys.exit("client %s: %s is wrong" % (number, file))
END2
together() { seq "$1" "$2" | xargs -P 8 -I N python3 client.py "$at" "$seed" N; }

# asked: how often the registry was asked for a package, each in turn.
asked() { awk '{ print $1 }' pool.txt | while read -r sum; do grep -c "\"GET /v2/[^ ]*/blobs/sha256:$sum[ ?]" origin.log || :; done; }
counted() {
	together 1 "$clients"
	asked >asked.txt
	echo "$clients clients, $(wc -l <pool.txt) packages, $whole bytes each; the registry was asked $(awk '{ n += $1 } END { print n }' asked.txt) times"
	awk 'END { exit !(n <= 1.1 * NR && none == 0) } { n += $1 } $1 == 0 { none++ }' asked.txt
	for n in 1 2 3; do # each has a part
		same "replica $n has files" yes "$(find "replica$n.state" -type f -size +10k | grep -q . && echo yes)"
	done
}
check "$clients clients: the registry gives each package once, to the one replica that keeps it (seed $seed)" counted

seen() {
	curl -sf --interface 127.0.0.9 -o seen.out "http://$at/setup/"
	eventually sh -c "cat replica?.access | grep -F 127.0.0.9"
}
check "the replicas' logs name the clients, not nginx" seen

killed() {
	together 101 $((100 + clients)) &
	all=$!
	sleep 0.5
	# shellcheck disable=SC2154
	kill -9 "$pid2"
	wait $all
	not curl -sf "http://$replica2/healthz"
	python3 client.py "$at" "$seed" last
}
check "one of three killed while $clients clients read: none of them fails" killed
