# 88-roots.sh: minimal systems made by stock debootstrap and mmdebstrap from mmoci serve alone.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
serve_start serve "oci:$shared/layout:site" -f "$shared/site.yaml"
suite=bookworm

by_mmdebstrap() {
	# The recipe of the server itself.
	curl -sf "$serve/setup/mmdebstrap.sh" -o recipe.sh
	ROOT=$work/mm SUITE=$suite sh recipe.sh
	root=$work/mm
	healthy
	in_root apt-get --version | head -n 1
	not grep -v '"status":\(200\|304\|404\)' serve.access
}
check "mmdebstrap, by the recipe of /setup/" by_mmdebstrap

by_debootstrap() {
	curl -sf "$serve/setup/site.asc" >site.asc
	apt-key --help >/dev/null 2>&1 || :
	python3 - site.asc site.gpg <<-'END'
		import base64, sys
		text = open(sys.argv[1]).read().split("\n\n", 1)[1].split("\n-----END")[0].splitlines()
		open(sys.argv[2], "wb").write(base64.b64decode("".join(l for l in text if not l.startswith("="))))
	END
	debootstrap --variant=minbase --keyring="$work/site.gpg" "$suite" "$work/de" "$serve/debian"
	root=$work/de
	healthy
	in_root dpkg-query -W apt
}
check "debootstrap --variant=minbase, under the site's key" by_debootstrap
