# 38-debmirror.sh: a verbatim archive has every signature file of upstream's, so that mirror programs that ask for
# Release and Release.gpg take it; and a Release that names no suite is taken where somebody says so, as apt takes it.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# --- an upstream of aptly's: InRelease, Release and Release.gpg
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key up@example.org ed25519 sign never
gpg --batch --export up@example.org >up.gpg
python3 "$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 1 20
cat >aptly.conf <<-END
	{"rootDir": "$work/aptly", "architectures": ["$arch"], "gpgProvider": "gpg"}
END
aptly() { command aptly -config="$work/aptly.conf" "$@" >&2; }
aptly repo create -distribution=stable -component=main up
aptly repo add up debs
aptly publish repo -batch -gpg-key=up@example.org -origin=Up -label=Up up
up=$work/aptly/public
"$mmoci" key new -o site.asc >&2
cat >verbatim.yaml <<-END
	archives:
	- {prefix: up, mode: verbatim, url: $up, suites: [stable], components: [main], architectures: [$arch], signed-by: up.gpg}
END
check "the archive is pushed verbatim" "$mmoci" push -f verbatim.yaml oci:layout:verbatim
check "it is proved by upstream's key" "$mmoci" verify --keyring up=up.gpg oci:layout:verbatim
check "and by hand" "$E2E_TOP/scripts/verify-by-hand.sh" layout:verbatim up=up.gpg
serve_start verbatim oci:layout:verbatim
check "InRelease, Release and Release.gpg are served as upstream has them" sh -c "
	for f in InRelease Release Release.gpg; do curl -sf '$serve/up/dists/stable/'\$f | cmp - '$up/dists/stable/'\$f; done"
mirrored() {
	debmirror --method=http --host="${serve#http://}" --root=/up --dist=stable --section=main --arch="$arch" --nosource \
		--diff=none --keyring="$work/up.gpg" --progress --rsync-extra=none "$work/mirror"
	diff -r "$up/pool" "$work/mirror/pool"
	for f in Release Release.gpg; do cmp "$up/dists/stable/$f" "$work/mirror/dists/stable/$f"; done
}
check "debmirror copies it, under upstream's key, to the byte" mirrored
stop "$pid"

# --- a Release with neither Suite nor Codename
cp -a "$up" unnamed
rm -f unnamed/dists/stable/InRelease unnamed/dists/stable/Release.gpg
sed -i '/^Suite:/d; /^Codename:/d' unnamed/dists/stable/Release
gpg --batch --clearsign --output unnamed/dists/stable/InRelease unnamed/dists/stable/Release
gpg --batch --armor --detach-sign --output unnamed/dists/stable/Release.gpg unnamed/dists/stable/Release
gpgconf --kill all
unnamed() {
	printf 'sign: {key: site.asc}\npackages: [package001]\narchives:\n'
	printf -- '- {prefix: un, mode: curated, url: unnamed, suites: [stable], components: [main], architectures: [%s], signed-by: up.gpg%s}\n' "$arch" "$1"
}
unnamed '' >refused.yaml
unnamed ', unnamed-release: yes' >unnamed.yaml
check "it is refused, with the switch" refused 3 "unnamed-release: yes" "$mmoci" push -f refused.yaml oci:layout:unnamed
check "with the switch it is pushed" "$mmoci" push -f unnamed.yaml oci:layout:unnamed
check "the site's key and upstream's prove it" "$mmoci" verify --keyring site.pub.asc --keyring un=up.gpg --require upstream oci:layout:unnamed
check "by hand, too" "$E2E_TOP/scripts/verify-by-hand.sh" layout:unnamed site.pub.asc un=up.gpg
serve_start unnamed oci:layout:unnamed
apt_own client
taken() {
	echo "deb [signed-by=$work/site.pub.asc] $1 stable main" >"$work/client/sources/x.list"
	own apt-get -q update
	own apt-get -q -y --print-uris --no-install-recommends install package001 | grep -q 'pool/.*package001'
}
check "apt takes it from the mirror" taken "$serve/un"
