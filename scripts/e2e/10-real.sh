# 10-real.sh: a real Debian, from upstream's key to docker --version.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
check "push of docker.io from three real suites over HTTP gives the reference" grep -Eq '^oci:.*:docker@sha256:[0-9a-f]{64}$' "$shared/docker.ref"

the_set_of_apt() {
	upstream_apt -s --no-install-recommends install docker.io |
		sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' | LC_ALL=C sort >apt.txt
	"$mmoci" pull "oci:$shared/layout:docker" --keyring "$sitekey" --extract docker.io --host-status none -o debs >lines.txt
	packages debs >mmoci.txt
	[ -s apt.txt ]
	diff apt.txt mmoci.txt
	wc -l <mmoci.txt
}
check "pull --extract docker.io gives the very set that apt-get chooses" the_set_of_apt

each_printed_once() {
	tr ' ' '\n' <lines.txt | sort >printed.txt
	find debs -name '*.deb' | sort >there.txt
	diff printed.txt there.txt
}
check "every file is printed once" each_printed_once

upstream_proved() {
	"$mmoci" verify "oci:$shared/layout:docker" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg" \
		--keyring "debian-security=$up/keyring-debian-security.gpg" --require upstream
}
check "verify --require upstream" upstream_proved

# --- a bare host, by dpkg

line_by_line() {
	new_root by-dpkg
	not in_root dpkg -s docker.io >/dev/null 2>&1
	cp -r debs "$root/"
	while read -r line; do
		# shellcheck disable=SC2086 # one dpkg call a line
		in_root dpkg -i $line
	done <lines.txt
	healthy
}
check "the files install line by line as printed, dpkg --audit is empty" line_by_line
root=$work/by-dpkg
check "docker runs" in_root docker --version
check "dockerd and containerd run" in_root sh -c 'dockerd --version && containerd --version && runc --version'

# --- apt, from serve alone

serve_start serve "oci:$shared/layout:docker" -f "$shared/docker.yaml"
docker_url=$serve

by_apt() {
	new_root by-apt
	for p in debian debian-security; do sources_of "$docker_url" $p; done
	cat "$root"/etc/apt/sources.list.d/*
	in_root apt-get -q update >update.txt 2>&1
	updated update.txt
	# Nothing but the site's own key is named.
	not grep -q '^Signed-By: /' "$root"/etc/apt/sources.list.d/*
	in_root apt-get -y -q --no-install-recommends install docker.io
	healthy
	in_root docker --version
}
check "apt-get update and install docker.io from serve alone, under the site's key" by_apt

by_apt_upstream() {
	new_root upstream-view
	for p in debian debian-security; do
		sources_of "$docker_url" $p-upstream
		sed -i 's|^Signed-By:.*|Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg|' "$root/etc/apt/sources.list.d/$p-upstream.sources"
	done
	cat "$root"/etc/apt/sources.list.d/*
	in_root apt-get -q update >update.txt 2>&1
	updated update.txt
	in_root apt-get -y -q --no-install-recommends install docker.io
	healthy
	in_root docker --version
}
check "apt-get update and install docker.io from /upstream/ under Debian's own keyring" by_apt_upstream
root=$work/upstream-view

same_inrelease() {
	while IFS='|' read -r prefix suite _ _; do
		curl -sf "$docker_url/upstream/$prefix/dists/$suite/InRelease" | cmp - "$up/$prefix/dists/$suite/InRelease"
	done <"$up/.apt/archives.txt"
}
check "/upstream/ serves upstream's InRelease byte for byte" same_inrelease

reason_shown() {
	in_root sh -c 'cd /tmp && apt-get -q download bash-doc' >reason.txt 2>&1 && return 1
	cat reason.txt
	# 404 and a phrase of ours, not the standard "Not Found" alone.
	grep -E '404 +[A-Za-z].*(snapshot|here|carried)' reason.txt
}
check "apt prints why a pool file is not there" reason_shown

with_debians_key_alone() {
	for p in debian debian-security; do set -- "$@" --keyring "$p=/usr/share/keyrings/debian-archive-keyring.gpg"; done
	"$mmoci" pull "oci:$shared/layout:docker" "$@" --extract docker.io --host-status none -o debs-upstream >lines-upstream.txt
	packages debs-upstream | diff mmoci.txt -
}
check "pull --extract docker.io with nothing but the Debian archive keyring" with_debians_key_alone

# --- verbatim

nginx_start upstream "$up"
verbatim_push() {
	"$mmoci" push "oci:$work/verbatim:updates" --url "$nginx/debian" --prefix debian --suite bookworm-updates --component main \
		--arch "$arch" --keyring "$up/keyring-debian.gpg" --verbatim >verbatim.ref
	cat verbatim.ref
}
check "verbatim push of bookworm-updates" verbatim_push
serve_start serve-verbatim "oci:$work/verbatim:updates"

verbatim_same() {
	curl -sf "$serve/debian/dists/bookworm-updates/InRelease" | cmp - "$up/debian/dists/bookworm-updates/InRelease"
}
check "the InRelease served is upstream's, byte for byte" verbatim_same

# Every package of the index is there, and nothing upstream offered is left out unsaid.
verbatim_whole() {
	xz -dc "$up/debian/dists/bookworm-updates/main/binary-$arch/Packages.xz" | sed -n 's/^SHA256: //p' | sort >listed.txt
	"$mmoci" ls "oci:$work/verbatim:updates" --json >ls.json
	curl -sf "$serve/debian/dists/bookworm-updates/main/binary-$arch/Packages.xz" | cmp - "$up/debian/dists/bookworm-updates/main/binary-$arch/Packages.xz"
	"$mmoci" ls "oci:$work/verbatim:updates" | grep -o 'sha256:[0-9a-f]*' | cut -d: -f2 | sort >carried.txt
	diff listed.txt carried.txt
	wc -l <carried.txt
}
check "verbatim drops no package" verbatim_whole

verbatim_apt() {
	apt_own verbatim-apt
	curl -sf "$serve/setup/debian.sources" | sed "s|^Signed-By:.*|Signed-By: $up/keyring-debian.gpg|" >verbatim-apt/sources/debian.sources
	cat verbatim-apt/sources/debian.sources
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	own apt-cache pkgnames | sort >names.txt
	xz -dc "$up/debian/dists/bookworm-updates/main/binary-$arch/Packages.xz" | sed -n 's/^Package: //p' | sort -u >want.txt
	# pkgnames names what is only depended on, too.
	[ -z "$(comm -13 names.txt want.txt)" ]
	own apt-cache madison tzdata-legacy clamav | cat
	first=$(own apt-cache dumpavail | sed -n 's/^Package: //p' | head -n 1)
	(mkdir -p got && cd got && own apt-get -q download "$first" && ls)
}
check "apt accepts verbatim under Debian's keyring and downloads from it" verbatim_apt
