# 12-readme.sh: the ten minutes of the README, typed as they stand there: first those of an ordinary user with Go, then
# those as root, on a host that has the program, the configuration and the public key.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

upstream # the host's apt has been updated, as on a machine where somebody works
new_root host

mkdir -p clone
(cd "$E2E_TOP" && git -c safe.directory='*' ls-files -z | xargs -0 cp --parents -t "$work/clone")

# The two blocks, with ports that are free here.
awk '/^## / { on = /^## Ten minutes/ } on && /^As root/ { root = 1 } on && /^    / { print substr($0, 5) >(root ? "root.sh" : "user.sh") }' clone/README.md
registry=$(free_port) server=$(free_port)
sed -i "s/127\.0\.0\.1:5000/127.0.0.1:$registry/g; s/127\.0\.0\.1:8000/127.0.0.1:$server/g; s/^mmoci serve /&--listen 127.0.0.1:$server /" user.sh root.sh
cat user.sh root.sh >&2
{
	echo 'set -eu'
	cat user.sh
	echo "touch '$work/typed'"
	echo 'wait'
} >all.sh
(cd clone && GOFLAGS=-buildvcs=false exec setsid sh "$work/all.sh") >user.out 2>user.err &
pid=$!
echo $pid >>pids
ended() { [ -e typed ] || ! kill -0 $pid 2>/dev/null; }
n=0
until ended || [ $n -ge 1800 ]; do n=$((n + 1)); sleep 0.1; done
# What stays in the background is ended with the rest.
for p in /proc/[0-9]*; do
	case $(readlink "$p/exe" 2>/dev/null) in "$work/clone/bin/"*) echo "${p#/proc/}" >>pids ;; esac
done

as_user() {
	cat user.out
	tail -n 30 user.err
	[ -e typed ]
	grep -E "^127\.0\.0\.1:$registry/site/mirror:stable@sha256:[0-9a-f]{64}$" user.out
	[ -n "$(ls site/mmoci-debs/docker.io_*.deb)" ]
	not grep -E '^(mmoci: |no +)' user.err
	curl -sf "http://127.0.0.1:$server/debian/dists/bookworm/main/binary-$arch/Packages.gz" | zcat | grep -x 'Package: docker.io'
	crane manifest --insecure "127.0.0.1:$registry/site/mirror:stable" | head -c 300
}
check "from make build to a mirror that is ready" as_user

as_root() {
	cp "$E2E_TOP/bin/mmoci" "$root/usr/local/bin/"
	mkdir -p "$root/site/keys"
	cp site/mmoci.yaml "$root/site/"
	cp site/keys/site.pub.asc "$root/site/keys/"
	find "$root/etc/apt" -type f -exec sha256sum {} + | sort >before
	sed '/^mmoci host undo/d' root.sh >there.sh
	grep '^mmoci host undo' root.sh >back.sh
	in_site() { env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$root" sh -euc "cd /site; $(cat "$1")"; }
	in_site there.sh 2>&1 | tee root.out
	grep "^Get:.* http://127.0.0.1:$server/debian bookworm InRelease" root.out
	not grep '^[EW]:' root.out
	healthy
	in_root dockerd --version
	in_site back.sh
	find "$root/etc/apt" -type f -exec sha256sum {} + | sort | diff before -
}
check "as root: apt takes the mirror, docker.io is installed from the registry, and apt is as it was" as_root
