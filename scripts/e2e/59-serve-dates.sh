# 59-serve-dates.sh: whatever a registry puts under the tag, apt behind mmoci serve never sees an older Date and is
# never locked out by a far one: what is wrong is not followed, over restarts too, and what is honest is.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

bad=$work/bad
mkdir "$bad"
(cd "$E2E_TOP" && MMOCI_NEWCOMERS=$bad "${GO:-go}" test -count=1 -run '^TestWriteNewcomers$' ./internal/serve) >&2

"$mmoci" key new -o site.asc >&2
printf 'sign: {key: %s}\ntrust: [%s]\narchives:\n- {prefix: own, mode: curated, debs: %s}\n' "$work/site.asc" "$work/site.pub.asc" "$work/debs" >mmoci.yaml
registry_start registry registry "$work/storage"
tag=$registry/site/mirror:day
# push_on DAY COUNT TARGET: that many packages as the snapshot of that day, upstream's Releases being none.
push_on() {
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 1 "$2" 2000
	"$mmoci" push -q -f mmoci.yaml --date "2024-11-$1T09:13:40Z" "$3" >"$1.ref"
}
# give LAYOUT: what it holds comes under the tag, as anybody who may write to the registry can have it.
give() { skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:$1:day" "docker://$tag" >&2; }
push_on 05 3 "oci:$work/good:day"
push_on 07 4 "oci:$work/honest:day"
give "$work/good"

# The server of the first half has no trust:, so that only dates count; that of the second has.
serve_as() {
	_more=$1
	# shellcheck disable=SC2086 # words
	serve_start serve $_more --follow 200ms "$tag"
	port=${serve##*:}
}
again() {
	stop "$pid"
	"$mmoci" serve --listen "127.0.0.1:$port" --state "$work/serve.state" $_more --follow 200ms "$tag" >>serve.access 2>>serve.log &
	pid=$!
	echo $pid >>pids
	eventually curl -sf "$serve/readyz"
}
host() {
	apt_own "$1"
	sed "s|^Signed-By: .*|Signed-By: $work/site.pub.asc|; /^ /d" >"$1/sources/own.sources" <<-END
		Types: deb
		URIs: $serve/own
		Suites: own
		Components: main
		Signed-By: $work/site.pub.asc
	END
}
sees() {
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	same packages "$1" "$(own apt-cache pkgnames package | wc -l)"
}
refused_by_serve() { curl -s "$serve/readyz" | grep 'what the tag names now is not followed: '; }

kept() {
	sees 3
	while read -r n what; do
		echo "--- $n $what"
		give "$bad/$n"
		eventually refused_by_serve
		refused_by_serve
		sees 3
		again
		refused_by_serve
		sees 3
		give "$work/good"
		sleep 0.5
	done <"$bad/list"
}
serve_as ""
host apt
check "$(wc -l <"$bad/list") newcomers that must not be followed: apt goes on with the last good one, over restarts" kept

follows() {
	give "$work/honest"
	sleep 0.5
	sees 4
	not refused_by_serve
}
check "an honest one afterwards is followed" follows

back() {
	give "$work/good"
	eventually refused_by_serve
	sees 4
	again
	sees 4
	give "$work/honest"
	sleep 0.5
}
check "the tag moved back: apt sees no older Date, over a restart too" back
stop "$pid"

unsigned() {
	sed '/^sign:/d; /^trust:/d' mmoci.yaml >unsigned.yaml
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 1 5 2000
	"$mmoci" push -q -f unsigned.yaml --insecure-unsigned --date 2024-11-08T09:13:40Z "oci:$work/unsigned:day"
	"$mmoci" key new -o thief.asc >&2
	sed "s|site.asc|thief.asc|; /^trust:/d" mmoci.yaml >thief.yaml
	"$mmoci" push -q -f thief.yaml --date 2024-11-08T09:13:40Z "oci:$work/thief:day"
	push_on 09 6 "oci:$work/next:day"
	serve_as "-f mmoci.yaml"
	host apt2
	sees 4
	for l in unsigned thief; do
		give "$work/$l"
		eventually refused_by_serve
		sees 4
		again
		sees 4
		give "$work/honest"
		sleep 0.5
	done
	give "$work/next"
	sleep 0.5
	sees 6
}
check "with trust: no statement is followed that the site's key does not verify, over restarts too" unsigned
