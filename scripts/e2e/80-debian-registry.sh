# 80-debian-registry.sh: Debian's docker-registry and distribution v3: push, pull, verify, and push again.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
{ sign_part && selection "$up" docker.io; } >docker.yaml
"$mmoci" pull "oci:$shared/layout:docker" --keyring "$sitekey" --extract docker.io --host-status none -o good >good.lines

pushed() {
	"$mmoci" push -f docker.yaml "$1" >"$2.ref"
	same "root digest" "$(sed 's/.*@//' "$shared/docker.ref")" "$(sed 's/.*@//' "$2.ref")"
}
read_back() {
	rm -rf taken
	"$mmoci" pull "$1" --keyring "$sitekey" --extract docker.io --host-status none -o taken >taken.lines
	diff -r good taken
	sed 's|taken|good|g' taken.lines | diff good.lines -
	"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" \
		--keyring "debian-security=$up/keyring-debian-security.gpg" --require upstream
	"$mmoci" verify "$1" --keyring "$sitekey" --remote
}
by_apt() {
	serve_start "serve-$2" "$1" -f docker.yaml
	apt_own "apt-$2"
	for p in debian debian-security; do curl -sf "$serve/setup/$p.sources" >"apt-$2/sources/$p.sources"; done
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	own apt-get -q -y --no-install-recommends --download-only install docker.io
	same ".debs" "$(ls good | wc -l)" "$(find "apt-$2/archives" -name '*.deb' | wc -l)"
	stop "$pid"
}
# The second time nothing is sent, and as much is asked as does not depend on how much is there.
nothing_new() {
	sleep 0.3
	before=$(wc -l <"$2.log")
	"$mmoci" push -f docker.yaml "$1"
	sleep 0.3
	tail -n +$((before + 1)) "$2.log" | grep -oE '"(GET|HEAD|PUT|POST|PATCH|DELETE) /v2/[^ "]*' >asked.txt
	cat asked.txt
	same "uploads" 0 "$(grep -cE '^"(PUT|POST|PATCH)' asked.txt)"
	[ "$(wc -l <asked.txt)" -le 40 ]
}

for program in docker-registry registry; do
	registry_start $program $program "$work/$program.d"
	ref=$registry/site/mirror:docker
	check "$program: push" pushed "$ref" $program
	check "$program: pull and verify" read_back "$ref"
	check "$program: apt through serve" by_apt "$ref" $program
	check "$program: push again uploads nothing" nothing_new "$ref" $program
done
