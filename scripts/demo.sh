#!/bin/sh
# The demo: a real slice of the host's Debian or Ubuntu becomes one artifact in
# an OCI layout, docker.io comes out of it verified, and a real apt-get takes
# it from there. As root apt-get installs in a minimal root that is itself made
# of the snapshot; otherwise it updates and downloads in a root of its own.
# Everything is under demo/. PKG names another package than docker.io.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need apt-get dpkg awk
mmoci=$PWD/bin/mmoci
pkg=${PKG:-docker.io}
top=$PWD/demo
mkdir -p "$top"
rm -rf "$top/debs" "$top/base" "$top/root" "$top/layout" "$top/apt" "$top/state" "$top/mmoci.yaml"
arch=$(dpkg --print-architecture)
now() { date +%s; }
start=$(now)
step() { printf '\n== %s\n' "$*"; }
took() { printf '   %s s\n' $(($(now) - t)); }

base=
if [ "$(id -u)" = 0 ]; then
	# What a minimal root is made of: priority required, and apt.
	base=$(apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' | while read -r f; do
		for g in "$f" "$f".*; do [ -e "$g" ] && /usr/lib/apt/apt-helper cat-file "$g" && break; done
	done | awk '/^Package:/ { p = $2 } /^Priority: required/ { print p }' | sort -u | tr '\n' ' ')apt
fi

step "A real upstream, laid out from this host's apt: $pkg and what it needs${base:+, and a base system}"
t=$(now)
# shellcheck disable=SC2086 # base is a list of names
scripts/real-upstream.sh "$top/upstream" "$pkg" $base
took

step "The site's signing key and configuration"
[ -e "$top/keys/site.asc" ] || "$mmoci" key new -o "$top/keys/site.asc"
{
	echo 'ref: oci:layout:demo'
	echo 'sign: {key: keys/site.asc}'
	echo 'trust: [keys/site.pub.asc]'
	cat "$top/upstream/mmoci.yaml"
} >"$top/mmoci.yaml"
cd "$top"

step "mmoci push: verified under the distribution's key, chosen, signed by the site, packed"
t=$(now); ref=$("$mmoci" push); echo "   $ref"
"$mmoci" ls | sed 's/.*sha256://' | sort >got.txt
cut -f4 upstream/closure.tsv | sort >wanted.txt
cmp -s got.txt wanted.txt || die "not the set that apt-get chooses: compare demo/got.txt and demo/wanted.txt"
echo "   $(wc -l <got.txt) packages, the very set that the distribution's apt-get chooses"
took

step "mmoci verify: from the distribution's key down to every byte, offline"
t=$(now); "$mmoci" verify --require upstream; took

step "mmoci pull --extract $pkg: what it needs, for dpkg, on a host that has nothing"
t=$(now); "$mmoci" pull --extract "$pkg" --host-status none -o debs >order.txt; took
echo "   $(ls debs | wc -l) files, in the order of demo/order.txt"

step "mmoci serve, and a real apt-get that knows nothing else"
: >serve.log # it is read before the server has begun
"$mmoci" serve --listen 127.0.0.1:0 --state state >access.log 2>>serve.log &
serve=$!
trap 'kill $serve 2>/dev/null || true' EXIT INT TERM
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	url=$(sed -n 's/.*listening on \([^"]*\)".*/http:\/\/\1/p' serve.log); [ -n "$url" ] && break
	sleep 0.2
done
[ -n "$url" ] || { cat serve.log >&2; die "mmoci serve did not start"; }
prefixes=$(sed -n 's/^- prefix: //p' mmoci.yaml)

t=$(now)
if [ -n "$base" ]; then
	"$mmoci" pull --extract 'Priority (= required),apt' --host-status none -o base >base.txt
	../scripts/minroot.sh root base/*.deb
	sources=root/etc/apt/sources.list.d
	rm -f root/etc/apt/sources.list
else
	mkdir -p apt/lists/partial apt/archives/partial apt/sources apt/parts
	: >apt/status
	sources=apt/sources
	cat >apt.conf <<-END
		Dir::Etc::sourcelist "/dev/null";
		Dir::Etc::sourceparts "$top/apt/sources";
		Dir::Etc::parts "$top/apt/parts";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "$top/apt/parts";
		Dir::State "$top/apt";
		Dir::State::status "$top/apt/status";
		Dir::Cache "$top/apt";
		Acquire::Languages "none";
		Debug::NoLocking "true";
	END
fi
for p in $prefixes; do
	/usr/lib/apt/apt-helper -q -o APT::Sandbox::User=root download-file "$url/setup/$p.sources" "$top/$sources/$p.sources" >/dev/null
done
if [ -n "$base" ]; then
	in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot root "$@"; }
	in_root apt-get -q update
	in_root apt-get -y -q -o Dpkg::Use-Pty=0 --no-install-recommends install "$pkg" | tail -n 3
	[ -z "$(in_root dpkg --audit)" ] || die "dpkg --audit complains in demo/root"
	echo "   installed in demo/root: $(in_root dpkg-query -W "$pkg")"
else
	APT_CONFIG=$top/apt.conf apt-get -q update
	APT_CONFIG=$top/apt.conf apt-get -y -q --no-install-recommends --download-only install "$pkg" | tail -n 3
	echo "   downloaded by apt-get: $(ls apt/archives/*.deb | wc -l) packages"
fi
took
echo
echo "All of it took $(($(now) - start)) s. Look at: demo/mmoci.yaml, demo/layout, demo/debs, demo/access.log"
