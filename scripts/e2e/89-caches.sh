# 89-caches.sh: nginx as a cache before two replicas: what may be kept is a HIT, what may not is asked for again, and replicas say the same.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

mkdir -p debs tree/DEBIAN
"$mmoci" key new -o site.asc
printf 'Package: alpha\nVersion: 1\nArchitecture: all\nMaintainer: Site <site@example.org>\nDescription: a\n' >tree/DEBIAN/control
dpkg-deb --root-owner-group -b tree debs/alpha_1_all.deb >&2
cat >mmoci.yaml <<'END'
sign: {key: site.asc}
trust: [site.pub.asc]
archives:
- {prefix: own, mode: curated, debs: ./debs}
END
"$mmoci" push -f mmoci.yaml --date 2026-01-01 oci:mirror:noble >ref.txt
printf 'rules: []\n' >policy.yaml
serve_start one -f mmoci.yaml --policy policy.yaml oci:mirror:noble
one=$serve
serve_start two -f mmoci.yaml --policy policy.yaml oci:mirror:noble
two=$serve
port=$(free_port)
mkdir -p front.d cache.d
cat >front.conf <<END
daemon off; user root; worker_processes 1; pid $work/front.d/pid; error_log $work/front.error;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path $work/front.d; proxy_temp_path $work/front.d; fastcgi_temp_path $work/front.d; uwsgi_temp_path $work/front.d; scgi_temp_path $work/front.d;
  proxy_cache_path $work/cache.d keys_zone=c:1m;
  upstream both { server ${one#http://}; server ${two#http://}; }
  server {
    listen 127.0.0.1:$port;
    location / { proxy_pass http://both; proxy_cache c; proxy_cache_revalidate on; add_header X-Cache \$upstream_cache_status; }
  }
}
END
start front nginx -e "$work/front.error" -c "$work/front.conf"
front=http://127.0.0.1:$port
eventually curl -sf "$front/healthz"
id=$(sed -n 's/.*@\(sha256:[0-9a-f]*\).*/\1/p' ref.txt | head -n1)
[ -n "$id" ] || die "no digest in ref.txt"
pool=$(curl -sf "$one/own/dists/own/main/binary-$(dpkg --print-architecture)/Packages.gz" | gzip -d | sed -n 's/^Filename: //p' | head -n1)
[ -n "$pool" ] || die "no package in the index"

# state PATH: what the cache says of it.
state() { curl -sf -D - -o got "$front/$1" | tr -d '\r' | sed -n 's/^X-Cache: //p'; }
kept() {
	for p in "snapshot/$id/own/$pool" "snapshot/$id/own/dists/own/InRelease" "snapshot/$id/mmoci/statement"; do
		same "first of $p" MISS "$(state "$p")"
		curl -sf "$one/$p" | cmp - got
		same "second of $p" HIT "$(state "$p")"
		curl -sf "$two/$p" | cmp - got
	done
}
check "below a snapshot's ID, package, Release and statement are kept" kept

asked() {
	for p in "own/dists/own/InRelease" "own/$pool"; do
		state "$p" >&2
		again=$(state "$p")
		[ "$again" != HIT ] || { echo "$p is a HIT"; return 1; }
	done
}
check "the current Release, and a package that the site may build again, are asked for" asked

alike() {
	for p in "own/dists/own/InRelease" "own/$pool" "snapshot/$id/own/$pool" "snapshot/$id/own/dists/own/InRelease" "own/pool/none"; do
		curl -s -D a.head -o a.body "$one/$p"
		curl -s -D b.head -o b.body "$two/$p"
		sed -i '/^Date:/d' a.head b.head
		cmp a.head b.head
		cmp a.body b.body
	done
}
check "replicas answer alike, Cache-Control too" alike

rules() {
	printf 'rules:\n- {deny: alpha, reason: none}\n' >policy.new
	mv policy.new policy.yaml
	for u in "$one" "$two"; do
		eventually sh -c "curl -s -o got.txt -w '%{http_code}' '$u/snapshot/$id/own/$pool' | grep 403"
		curl -s -D - -o got.txt "$u/snapshot/$id/own/$pool" | grep -i '^cache-control: no-cache'
	done
	rm -rf cache.d/*
	same "denied through an emptied cache" 403 "$(curl -s -o got.txt -w '%{http_code}' "$front/snapshot/$id/own/$pool?emptied")"
}
check "rules that are loaded later deny, and nothing more is kept" rules
