# 81-probe.sh: doctor --probe at the registries that run here: each answer is the one that artifacts/docs/registries.md has.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

page=$E2E_TOP/artifacts/docs/registries.md

# column NAME: the number of the column of a registry in the page's matrix.
column() { awk -F ' *[|] *' -v name="$1" '/^[|] capability / { for (i = 2; i <= NF; i++) if ($i == name) print i }' "$page"; }

# probed PROGRAM NAME: what the program answers is what the page says of NAME.
probed() {
	registry_start "$1" "$1" "$work/$1.d"
	# A registry that deletes nothing is exit 1, and says what is left.
	"$mmoci" doctor --probe --json "$registry/site/mirror" >"$1.json" 2>"$1.err" || [ $? = 1 ]
	jq -r '.rows[] | "\(.capability)|\(.answer)"' "$1.json" >"$1.found"
	cat "$1.found" "$1.err" >&2
	_n=$(column "$2")
	[ -n "$_n" ] || { echo "no column for $2"; return 1; }
	awk -F ' *[|] *' -v n="$_n" 'on && !/^[|]/ { exit } /^[|] capability / { on = 1; getline; next } on { print $2 "|" $n }' "$page" >"$1.said"
	cmp "$1.found" "$1.said"
	# Nothing is left but where the answer says so.
	if [ "$(jq '.left | length' "$1.json")" = 0 ]; then
		same "tags" "" "$(curl -s "http://$registry/v2/site/mirror/tags/list" | jq -r '.tags[]?')"
	fi
}
check "distribution v3" probed registry "distribution 3.1.2"
check "Debian's docker-registry" probed docker-registry "docker-registry of trixie"
