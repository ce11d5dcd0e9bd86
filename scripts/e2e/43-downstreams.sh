# 43-downstreams.sh: other programs mirror from mmoci serve: debmirror, apt-mirror, reprepro and aptly, of a curated archive
# under the site's key and of a verbatim one under Debian's. What each has is what the snapshot has, to the byte, and installs.
# (debmirror of a verbatim archive: 38-debmirror.sh; debootstrap: 42-debootstrap.sh.)
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
site
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key downstream@example.org rsa3072 sign never
gpg --batch --armor --export downstream@example.org >downstream.asc
gpg --batch --quiet --dearmor <"$sitekey" >site.gpg
debians=$(echo "$up"/keyring-debian.*)
gpg --batch --quiet --import "$sitekey" "$debians"

{ sign_part && selection "$up" hello; } >curated.yaml
check "hello and what it needs are pushed, curated" "$mmoci" push -f curated.yaml oci:layout:curated
printf 'trust: [%s]\narchives:\n- {prefix: debian, mode: verbatim, url: %s, suites: [bookworm-updates], components: [main], architectures: [%s], signed-by: %s}\nsign: {key: %s}\n' \
	"$sitekey" "$up/debian" "$arch" "$debians" "$shared/keys/site.asc" >verbatim.yaml
check "the updates suite is pushed, verbatim" "$mmoci" push -f verbatim.yaml oci:layout:verbatim

# listed TAG: the digests of the packages of archive debian (for curated: of the release alone, which is what is mirrored).
listed() {
	rm -rf "tree-$1"
	"$mmoci" pull "oci:layout:$1" -f "$1.yaml" -o "tree-$1" >&2
	gzip -dcf "tree-$1/debian/dists/$2/main/binary-$arch"/Packages.gz 2>/dev/null | sed -n 's/^SHA256: //p' | sort -u >"$1.want"
	[ -s "$1.want" ] || xz -dc "tree-$1/debian/dists/$2/main/binary-$arch"/Packages.xz | sed -n 's/^SHA256: //p' | sort -u >"$1.want"
	[ -s "$1.want" ]
}
listed curated bookworm
listed verbatim bookworm-updates
# mirrored WANT DIR: the packages in DIR are those.
mirrored() {
	find "$2" -name '*.deb' -exec sha256sum {} + | cut -c1-64 | sort -u >have
	diff "$1" have
}
# installs NAME DIR SUITE KEY PACKAGE: apt of a minimal root installs it from the mirror, which is signed by KEY.
installs() {
	rm -rf "$root/mirror" "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
	cp -a "$2" "$root/mirror"
	cp "$4" "$root/etc/mirror.asc"
	echo "deb [signed-by=/etc/mirror.asc] file:/mirror $3 main" >"$root/etc/apt/sources.list"
	in_root apt-get -q update 2>&1 | tee update.out
	updated update.out
	in_root apt-get -q -y --no-install-recommends install "$5"
	in_root dpkg-query -Wf '${Status}\n' "$5" | grep '^install ok installed$'
	in_root apt-get -q -y purge "$5"
	healthy
}
new_root client

downstream() { # KIND SUITE KEYRING PACKAGE
	kind=$1 suite=$2 keyring=$3 package=$4

	# --- apt-mirror keeps upstream's tree and signatures; it verifies nothing itself. Of a port other than 80 it loses
	# its own files (its paths have no port, those of wget do), whoever serves.
	serving=$pid
	start "am-$kind-serve" "$mmoci" serve --listen 127.0.0.43:80 --state "$work/am-$kind.state" "oci:layout:$kind" -f "$kind.yaml"
	eventually curl -sf http://127.0.0.43/readyz
	apt_mirror() {
		mkdir -p "am-$kind/var" "am-$kind/mirror" "am-$kind/skel"
		printf 'set base_path %s\nset nthreads 4\nset _tilde 0\nset run_postmirror 0\ndeb [arch=%s] %s/debian %s main\n' \
			"$work/am-$kind" "$arch" http://127.0.0.43 "$suite" >"am-$kind.list"
		apt-mirror "am-$kind.list"
		tree=$work/am-$kind/mirror/127.0.0.43/debian
		mirrored "$kind.want" "$tree"
		gpgv --keyring "$keyring" "$tree/dists/$suite/InRelease"
	}
	check "apt-mirror mirrors the $kind archive" apt_mirror
	stop "$pid"
	pid=$serving
	tree=$work/am-$kind/mirror/127.0.0.43/debian
	armored "$keyring" >"$kind.asc"
	[ -z "$package" ] || check "apt installs from what apt-mirror has, under the same key" installs am "$tree" "$suite" "$kind.asc" "$package"

	# --- reprepro verifies, and signs with a key of its own
	reprepro_update() {
		mkdir -p "rp-$kind/conf"
		# reprepro takes key IDs of 16 digits, of the (sub)key that signed.
		id=$(curl -sf "$serve/debian/dists/$suite/InRelease" | gpgv --keyring "$keyring" --status-fd 1 2>/dev/null | sed -n 's/.* VALIDSIG [0-9A-F]\{24\}\([0-9A-F]\{16\}\) .*/\1/p' | head -n 1)
		printf 'Codename: %s\nArchitectures: %s\nComponents: main\nDescription: downstream\nUpdate: mmoci\nSignWith: downstream@example.org\n' "$suite" "$arch" >"rp-$kind/conf/distributions"
		printf 'Name: mmoci\nMethod: %s/debian\nSuite: %s\nComponents: main\nArchitectures: %s\nGetInRelease: yes\nVerifyRelease: %s\n' "$serve" "$suite" "$arch" "$id" >"rp-$kind/conf/updates"
		reprepro -b "rp-$kind" update
		mirrored "$kind.want" "rp-$kind/pool"
	}
	check "reprepro update takes the $kind archive, under its key" reprepro_update
	[ -z "$package" ] || check "apt installs from what reprepro has" installs rp "rp-$kind" "$suite" downstream.asc "$package"

	# --- aptly verifies, and signs with a key of its own
	aptly_mirror() {
		printf '{"rootDir": "%s", "architectures": ["%s"], "gpgProvider": "gpg"}\n' "$work/ap-$kind" "$arch" >"ap-$kind.conf"
		cp "$keyring" "$GNUPGHOME/$kind.gpg"
		a() { command aptly -config="$work/ap-$kind.conf" "$@"; }
		a mirror create -keyring="$kind.gpg" up "$serve/debian" "$suite" main
		a mirror update -keyring="$kind.gpg" up
		a snapshot create day from mirror up
		a publish snapshot -batch -gpg-key=downstream@example.org -distribution="$suite" -skip-contents day
		mirrored "$kind.want" "ap-$kind/pool"
	}
	check "aptly mirrors the $kind archive, under its key" aptly_mirror
	[ -z "$package" ] || check "apt installs from what aptly publishes" installs ap "ap-$kind/public" "$suite" downstream.asc "$package"
}
armored() { gpg --batch --enarmor <"$1" | sed 's/PGP ARMORED FILE/PGP PUBLIC KEY BLOCK/; /^Comment:/d'; }

serve_start curated oci:layout:curated -f curated.yaml
debmirror_curated() {
	debmirror --method=http --host="${serve#http://}" --root=/debian --dist=bookworm --section=main --arch="$arch" --nosource \
		--diff=none --keyring="$work/site.gpg" --progress --rsync-extra=none "$work/dm"
	mirrored curated.want dm/pool
}
check "debmirror mirrors the curated archive, under the site's key" debmirror_curated
armored site.gpg >site.asc
check "apt installs from what debmirror has" installs dm "$work/dm" bookworm site.asc hello
downstream curated bookworm "$work/site.gpg" hello
stop "$pid"
serve_start verbatim oci:layout:verbatim -f verbatim.yaml
downstream verbatim bookworm-updates "$debians" ''
gpgconf --kill all
