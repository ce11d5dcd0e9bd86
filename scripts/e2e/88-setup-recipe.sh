# 88-setup-recipe.sh: a minimal system made by the recipe that the server itself hands out.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
serve_start serve "oci:$shared/layout:site" -f "$shared/site.yaml"

by_mmdebstrap() {
	# The recipe of the server itself.
	curl -sf "$serve/setup/mmdebstrap.sh" -o recipe.sh
	ROOT=$work/mm SUITE=bookworm sh recipe.sh
	root=$work/mm
	healthy
	in_root apt-get --version | head -n 1
	not grep -v '"status":\(200\|304\|404\)' serve.access
}
check "mmdebstrap, by the recipe of /setup/" by_mmdebstrap
