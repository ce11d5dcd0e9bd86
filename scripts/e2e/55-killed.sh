# 55-killed.sh: kill -9 at a hundred random instants of a push, into a registry and into a layout.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

"$mmoci" key new -o site.asc >&2
"$mmoci" key new -o up.asc >&2

# An upstream of two days: what mmoci itself writes of .debs is an archive like any other.
cat >own.yaml <<-END
	sign: {key: $work/up.asc}
	trust: [$work/up.pub.asc]
	archives:
	- prefix: own
	  mode: curated
	  debs: $work/debs
END
for day in 1 4; do # three days apart: three of five packages are new
	"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" $day 40
	"$mmoci" push -q -f own.yaml --date "2026-01-0${day}T00:00:00Z" "oci:made:day$day" >&2
	"$mmoci" pull "oci:made:day$day" --keyring up.pub.asc -o "tree$day" >&2
done
registry_start v3 registry "$work/storage"

# killed KIND: to KIND.txt, the exit code to KIND.status. Both kinds at once: they mostly wait.
killed() {
	_code=0
	"$E2E_TOP/scripts/e2e/killer.py" --mmoci "$mmoci" --work "$work/$1" --kind "$1" --architecture "$arch" --old "$work/tree1/own" --new "$work/tree4/own" \
		--keys "$work" --registry "$registry" --storage "$work/storage" --log "$work/v3.log" --kills 100 >"$1.txt" 2>&1 || _code=$?
	echo $_code >"$1.status"
}
# ended KIND: prints what killed said.
ended() {
	while [ ! -s "$1.status" ]; do sleep 0.2; done
	cat "$1.txt"
	same "exit code" 0 "$(cat "$1.status")"
}
killed layout &
echo $! >>pids
killed registry &
echo $! >>pids
check "a push into a registry, killed at 100 instants: the old tag is whole, the rerun finishes, no blob is sent twice" ended registry
sed 's/^/     /' registry.txt
check "a push into a layout, killed at 100 instants: the old tag is whole, the rerun finishes, no blob is written twice" ended layout
sed 's/^/     /' layout.txt
