# 95-scale-out.sh: two engines of other people's with the files that are shipped: an object store behind the registry, whose presigned
# URLs reach the clients without the registry's credentials, and nginx as a cache before serve.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${E2E_SEED:-$(date +%s)}
say "seed $seed"

site
export DOCKER_CONFIG="$work/docker"
mkdir -p "$DOCKER_CONFIG" front.d

# --- an object store: gofakes3 behind distribution, each behind an nginx that logs; the registry wants credentials

s3=127.0.0.1:$(free_port)
start s3 gofakes3 -host "$s3" -initialbucket mmoci -backend memory -quiet
s3_pid=$pid
store=127.0.0.1:$(free_port)
registry=127.0.0.1:$(free_port)
gate=127.0.0.1:$(free_port)
printf 'site:%s\n' "$(openssl passwd -apr1 geheim)" >htpasswd
printf '{"auths": {"%s": {"auth": "%s"}}}' "$gate" "$(printf site:geheim | base64)" >"$DOCKER_CONFIG/config.json"
cat >front.conf <<END
daemon off; user root; worker_processes 1; pid $work/front.d/pid; error_log $work/front.error;
events { worker_connections 512; }
http {
  log_format asked '\$status \$bytes_sent \$request_method \$uri?\$args "\$http_authorization"';
  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d; uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
  client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1;
  server { listen $store; access_log $work/store.access asked; location / { proxy_set_header Host \$http_host; proxy_pass http://$s3; } }
  server { listen $gate; access_log $work/gate.access asked; location / { auth_basic r; auth_basic_user_file $work/htpasswd; proxy_set_header Host \$http_host; proxy_pass http://$registry; } }
}
END
start front nginx -e "$work/front.error" -c "$work/front.conf"
# gofakes3 has no copies in parts, which distribution makes of blobs above 32 MB.
sed -e "s|^\( *\)bucket: .*|&\n\1multipartcopythresholdsize: 5000000000|; s|regionendpoint: [^ ]*|regionendpoint: http://$store|; s|secure: true|secure: false|; s|addr: .*|addr: $registry|" "$E2E_TOP/artifacts/registry/s3.yml" >s3.yml
REGISTRY_STORAGE_S3_ACCESSKEY=key REGISTRY_STORAGE_S3_SECRETKEY=secret OTEL_TRACES_EXPORTER=none start registry registry serve s3.yml
eventually curl -sf "http://$registry/v2/"

pushed() {
	"$mmoci" copy "oci:$shared/layout:docker" "$gate/site/mirror:noble"
	same root "$("$mmoci" tag digest "$gate/site/mirror:noble")" "$(sed 's/.*@//' "$shared/docker.ref")"
	"$mmoci" copy "oci:$shared/layout:docker" "$gate/site/mirror:noble" 2>&1 | grep 'changed: false'
	same "without credentials" 401 "$(curl -s -o out -w '%{http_code}' "http://$gate/v2/")"
}
check "push into the object store" pushed

read_back() {
	: >store.access
	: >gate.access
	"$mmoci" verify "$gate/site/mirror:noble" --keyring "$sitekey"
	for from in "$gate/site/mirror:noble" "oci:$shared/layout:docker"; do
		"$mmoci" pull "$from" --keyring "$sitekey" --extract docker.io --host-status none -o "debs-${from%%:*}" >/dev/null
	done
	diff -r "debs-${gate%%:*}" debs-oci
	crane copy "$gate/site/mirror:noble" "$gate/crane/mirror:noble"
	sleep 1
	grep -c ' GET .*X-Amz-Signature=' store.access
	[ "$(grep -c ' GET .*X-Amz-Signature=' store.access)" -ge "$(ls debs-oci | wc -l)" ]
	awk '/X-Amz-Signature=/ && $NF != "\"-\"" { print; bad = 1 } END { exit bad }' store.access
	not grep -F "$(printf site:geheim | base64)" store.access
	grep -F "$(printf site:geheim | base64)" gate.access >/dev/null
	# The registry itself sends redirects for blobs, and no bytes of them.
	same "other answers to a blob" "" "$(awk '$3 == "GET" && /\/blobs\// && $1 != 307' gate.access)"
	sent=$(awk '$3 == "GET" { n += $2 } END { print n }' gate.access)
	all=$(awk '/X-Amz-Signature=/ && $3 == "GET" { n += $2 } END { print n }' store.access)
	echo "registry $sent bytes, store $all bytes"
	[ $((sent * 20)) -le "$all" ]
}
check "verify and extract: blobs by 307 from the store, to which no credentials of the registry go" read_back

# A front before the registry: it hands clients on, who get presigned URLs of the registry's.
handed_on() {
	printf -- '- {name: store, url: "http://%s/", registry: site/mirror, check: redirect, allow-http: yes, shares-credentials: yes}\n' "$registry" >store.yaml
	serve_start handing --registry --mirrors store.yaml --prefetch none "oci:$shared/layout:docker"
	: >store.access
	for d in debs-oci/*.deb; do
		sum=$(sha256sum <"$d" | cut -d' ' -f1)
		same "$d" "$sum" "$(curl -sfL "$serve/v2/mirror/blobs/sha256:$sum" | sha256sum | cut -d' ' -f1)"
	done
	sleep 1
	n=$(find debs-oci -name '*.deb' | wc -l)
	same "from the store" "$n" "$(grep -c '^200 .* GET .*X-Amz-Signature=' store.access)"
	same "of the front" "" "$(jq -c 'select(.path | test("/blobs/")) | select(.status != 307)' handing.access)"
	same "bytes of blobs from the front" 0 "$(jq -s 'map(select(.path | test("/blobs/")).bytes) | add' handing.access)"
	stop "$pid"
}
check "a front before it: each blob by 307 from front to registry to store, none of its bytes from the front" handed_on

lost() {
	stop "$s3_pid"
	got=0
	timeout 120 "$mmoci" pull "$gate/site/mirror:noble" --keyring "$sitekey" --extract runc --host-status none -o debs-lost >lost.out 2>lost.err || got=$?
	cat lost.err
	same exit 1 $got
	not grep -F 'X-Amz-' lost.err
	not ls debs-lost/*.deb
}
"$mmoci" copy -q "oci:$shared/layout:site" "oci:lay:site" >/dev/null
check "the store is gone: exit 1, nothing is written, and no message shows a presigned URL" lost

# --- a cache: nginx before serve

"$mmoci" copy -q "oci:$shared/layout:docker" oci:lay:noble >/dev/null
serve_start origin -f "$shared/docker.yaml" --registry --follow 1s --trusted-proxy 127.0.0.1 oci:lay:noble
eventually curl -sf "$serve/readyz"
at=127.0.0.1:$(free_port)
mkdir -p cache
sed -e "s|listen 80;|listen $at;|; s|192.0.2.11:8000|${serve#http://}|; s|/var/cache/nginx/mmoci|$work/cache|" "$E2E_TOP/artifacts/nginx/cache.conf" >cache.conf
cat >caching.conf <<END
daemon off; user root; worker_processes 1; pid $work/front.d/pid2; error_log $work/cache.error;
events { worker_connections 512; }
http {
  log_format kept '\$upstream_cache_status \$bytes_sent \$uri';
  access_log $work/cache.access kept;
  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d; uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
  include $work/cache.conf;
}
END
start cache nginx -e "$work/cache.error" -c "$work/caching.conf"
eventually curl -sf "http://$at/healthz"

# Each client updates and reads all packages in an order of its own, and hashes them.
cat >client.py <<'END2'
import gzip, hashlib, random, sys, urllib.request
at, seed, number, arch = sys.argv[1:]
get = lambda p: urllib.request.urlopen("http://%s/%s" % (at, p), timeout=90).read()
files = []
for line in open("dists.txt"):
    prefix, dist = line.split()
    release = get("%s/dists/%s/InRelease" % (prefix, dist)).decode()
    for l in release[release.index("SHA256:"):].splitlines()[1:]:
        f = l.split()
        if len(f) != 3: break
        if f[2] != "main/binary-%s/Packages.gz" % arch or f[1] == "0": continue
        data = get("%s/dists/%s/main/binary-%s/by-hash/SHA256/%s" % (prefix, dist, arch, f[0]))
        if hashlib.sha256(data).hexdigest() != f[0]: sys.exit("wrong index")
        one = {}
        for t in gzip.decompress(data).decode().splitlines() + [""]:
            if t == "" and one: files.append((prefix + "/" + one["Filename"], one["SHA256"])); one = {}
            elif t and t[0] != " ": k, _, v = t.partition(": "); one[k] = v
if not files: sys.exit("no packages")
random.Random(seed + number).shuffle(files)
for path, want in files:
    if hashlib.sha256(get(path)).hexdigest() != want: sys.exit("client %s: %s is wrong" % (number, path))
END2
for p in $(sed -n 's/^- prefix: //p' "$shared/docker.yaml"); do
	for s in bookworm bookworm-security bookworm-updates; do
		! curl -sf -o inrelease "http://$at/$p/dists/$s/InRelease" || echo "$p $s"
	done
done >dists.txt
together() { seq "$1" "$2" | xargs -P 8 -I N python3 client.py "$at" "$seed" N "$arch"; }
debs() { grep -o '"path":"[^"]*\.deb"\|GET /[^ ]*\.deb' origin.access || :; }
cold() {
	together 1 8
	debs | sort | uniq -c | sort -rn >asked.txt
	head -3 asked.txt
	[ -s asked.txt ]
	same "packages that the server was asked for twice" 0 "$(awk '$1 > 1' asked.txt | wc -l)"
}
check "8 clients with an empty cache: the server is asked once for each package (seed $seed)" cold
warm() {
	: >cache.access
	together 101 108
	awk '{ n += $2; if ($1 == "HIT") hit += $2 } END { printf "%d of %d bytes from the cache, %.2f %%\n", hit, n, 100 * hit / n; exit !(hit >= 0.99 * n) }' cache.access
}
check "8 more: at least 99 % of the bytes come from the cache" warm

moved() {
	p=$(sed -n '1s/ .*//p' dists.txt) s=$(sed -n '1s/.* //p' dists.txt)
	curl -sf -o before "http://$at/$p/dists/$s/InRelease"
	curl -sf -o before "http://$at/$p/dists/$s/InRelease"
	was=$("$mmoci" tag digest "$at/mirror:noble")
	"$mmoci" tag promote oci:lay:site noble --redate --sign-key "$shared/keys/site.asc" --keyring "$sitekey"
	began=$(date +%s)
	eventually sh -c "curl -sf -o after http://$at/$p/dists/$s/InRelease && ! cmp -s before after"
	echo "after $(($(date +%s) - began)) s"
	[ $(($(date +%s) - began)) -le 15 ]
	[ "$("$mmoci" tag digest "$at/mirror:noble")" != "$was" ]
	same "the tag" "$("$mmoci" tag digest "$at/mirror:noble")" "$("$mmoci" tag digest oci:lay:noble)"
	together 201 202
	"$mmoci" verify "$at/mirror:noble" --keyring "$sitekey"
}
check "a tag that moves is seen through the cache as soon as the server follows it, whole" moved

away() {
	curl -sf --interface 127.0.0.9 -o seen.out "http://$at/setup/"
	eventually grep -F 127.0.0.9 origin.access
	deb=$(awk '$1 == "HIT" && /\.deb$/ { print $3; exit }' cache.access)
	[ -n "$deb" ]
	stop "$serve_pid"
	curl -sf -o away.deb "http://$at$deb"
	dpkg-deb -f away.deb Package
}
serve_pid=$(pgrep -f "^$mmoci serve .*origin.state" | head -1)
check "the server's log names the clients; what is kept is given while the server is away" away
