# 90-whole-system.sh: a system made from serve alone, by mmdebstrap and by debootstrap.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

base_root
serve_start serve "oci:$shared/layout:site" -f "$shared/site.yaml"

made() {
	root=$work/$1
	mkdir -p "$root/proc"
	mount -t proc proc "$root/proc"
	echo "$root/proc" >>mounts
	healthy
	in_root apt-get --version
}

by_mmdebstrap() {
	for p in debian debian-security; do curl -sf "$serve/setup/$p.sources"; echo; done >all.sources
	mmdebstrap --mode=root --variant=apt --architectures="$arch" --format=directory --skip=cleanup/apt \
		bookworm mmdebstrap.d all.sources
	made mmdebstrap.d
	in_root apt-get -q update
	in_root apt-get -y -q --no-install-recommends install docker.io
	in_root docker --version
}
check "mmdebstrap, then docker.io, from serve alone" by_mmdebstrap

# debootstrap knows one archive and one suite: the same .debs as an archive of the site's own.
by_debootstrap() {
	{
		sign_part
		printf 'archives:\n- prefix: own\n  mode: curated\n  debs: %s\n' "$shared/base-debs"
	} >own.yaml
	"$mmoci" push -f own.yaml --date 2026-01-02T03:04:05Z "oci:own:latest"
	serve_start serve-own oci:own:latest -f own.yaml
	python3 - "$sitekey" site.gpg <<-'END'
		import base64, sys
		text = open(sys.argv[1]).read().split("\n\n", 1)[1].split("\n=")[0]
		open(sys.argv[2], "wb").write(base64.b64decode(text.split("-----END")[0]))
	END
	debootstrap --arch="$arch" --variant=minbase --keyring="$work/site.gpg" own "$work/debootstrap.d" "$serve/own" \
		/usr/share/debootstrap/scripts/sid || { tail -n 20 debootstrap.d/debootstrap/debootstrap.log; return 1; }
	made debootstrap.d
}
check "debootstrap from the site's own archive" by_debootstrap
