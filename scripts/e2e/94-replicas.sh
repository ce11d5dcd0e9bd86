# 94-replicas.sh: three servers behind nginx with the file that is shipped: their stores add up, the registry gives each
# file once, and one that is killed while clients read costs none of them anything. Then three fronts with mirrors, the same way.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/tree-nginx.sh"
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
# balancer NAME REPLICA..: nginx before three; $at is its address.
balancer() {
	at=127.0.0.1:$(free_port)
	mkdir -p "$1.d"
	sed -e "s|listen 80;|listen $at;|; s|192.0.2.11:8000|$2|; s|192.0.2.12:8000|$3|; s|192.0.2.13:8000|$4|" "$E2E_TOP/artifacts/nginx/replicas.conf" >"$1.replicas"
	cat >"$1.conf" <<-END
		daemon off; user root; worker_processes 1; pid $work/$1.d/pid; error_log $work/$1.error;
		events { worker_connections 1024; }
		http {
		  access_log off;
		  client_body_temp_path $work/$1.d; proxy_temp_path $work/$1.d; fastcgi_temp_path $work/$1.d; uwsgi_temp_path $work/$1.d; scgi_temp_path $work/$1.d;
		  include $work/$1.replicas;
		}
	END
	start "$1" nginx -e "$work/$1.error" -c "$work/$1.conf"
	eventually curl -sf "http://$at/healthz"
}
# shellcheck disable=SC2154 # set by eval
balancer front "$replica1" "$replica2" "$replica3"

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

# --- three fronts, which send clients to two mirrors

for m in 1 2; do
	host=127.0.0.1$m:$(free_port)
	tree_nginx "mirror$m" "$host" "$shared/layout"
	echo "- {name: mirror$m, url: \"http://$host/\", allow-http: yes}" >>mirrors.yaml
done
for n in 1 2 3; do
	serve_start "front$n" --registry --mirrors mirrors.yaml --trusted-proxy 127.0.0.1 "$origin/site/mirror:noble"
	eventually curl -sf "$serve/readyz"
	eval "front$n=${serve#http://} front_pid$n=$pid"
done
# shellcheck disable=SC2154
balancer fronts "$front1" "$front2" "$front3"

# sent.py same FRONT..: each package's blob is asked of each front until that redirects: all to the same mirror.
# sent.py right ADDRESS: each is asked there once; the bytes are right, wherever they come from.
cat >sent.py <<'END2'
import collections, hashlib, http.client, sys, time, urllib.request
sums = [l.split()[0] for l in open("pool.txt")][:40]
def ask(at, sum):
    c = http.client.HTTPConnection(at, timeout=60)
    c.request("GET", "/v2/site/mirror/blobs/sha256:" + sum)
    r = c.getresponse()
    body = r.read()
    c.close()
    if r.status == 307:
        body = urllib.request.urlopen(r.headers["Location"], timeout=60).read()
    assert r.status in (200, 307) and hashlib.sha256(body).hexdigest() == sum, "%s: %d for %s" % (at, r.status, sum)
    return r.headers["X-Mmoci-Mirror"] if r.status == 307 else None
def until(at, sum):
    for _ in range(200):
        mirror = ask(at, sum)
        if mirror:
            return mirror
        time.sleep(0.1)
    sys.exit("%s never redirects %s" % (at, sum))
if sys.argv[1] == "same":
    for sum in sums:
        mirrors = [until(at, sum) for at in sys.argv[2:]]
        assert len(set(mirrors)) == 1, "%s: %s" % (sum, mirrors)
        print(sum, mirrors[0])
else:
    print(collections.Counter(ask(sys.argv[2], sum) for sum in sums))
END2
answered() { grep -c '"path":"/v2/site/mirror/blobs/' "front$1.access" || :; }
fronts() {
	python3 sent.py same "$front1" "$front2" "$front3" >sent.txt
	same "mirrors that are used" 2 "$(cut -d' ' -f2 sent.txt | sort -u | wc -l)"
	for n in 1 2 3; do eval "had$n=$(answered $n)"; done
	python3 sent.py right "$at" | tee right.txt
	same "answers by the front itself" 0 "$(grep -c None right.txt || :)"
	for n in 1 2 3; do # each answered a part
		eval "[ \"\$(answered $n)\" -gt \"\$had$n\" ]" || { echo "front $n answered nothing"; return 1; }
	done
	# shellcheck disable=SC2154
	kill -9 "$front_pid2"
	python3 sent.py right "$at"
	not curl -sf "http://$front2/healthz"
}
check "three fronts behind nginx send each blob to the same mirror; one killed, all comes" fronts
