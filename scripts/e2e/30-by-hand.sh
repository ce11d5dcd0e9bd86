#!/bin/sh
# 30-by-hand.sh: the chain without our code, against what our code says.
#
# Good and forged snapshots (internal/testarchive/forge) are read by scripts/verify-by-hand.sh from layouts and,
# where the program `registry` (distribution) is installed, over HTTP; scripts/read-artifact.py lists what mmoci ls lists.
# Prints "ok NAME" a check; ends with 1 if one failed. Needs what verify-by-hand.sh needs, go and python3.
set -eu
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
pid=
trap '[ -z "${E2E_WORK:-}" ] || times >"$E2E_WORK/30-by-hand.times"; [ -z "$pid" ] || kill "$pid"; rm -rf "$work"' EXIT
failed=0
# check NAME EXIT COMMAND...: COMMAND ends with EXIT.
check() {
	name=$1 want=$2
	shift 2
	rc=0
	"$@" >"$work/out" 2>&1 || rc=$?
	if [ "$rc" = "$want" ]; then echo "ok $name"; else
		echo "not ok $name: exit $rc, want $want: $(tail -n1 "$work/out")"
		failed=1
	fi
}

# Below scripts/e2e.sh program and snapshots are there, made once for all scripts.
if [ -n "${E2E_TOP:-}" ]; then
	(
		. "$E2E_TOP/scripts/e2e/lib.sh"
		forgeries
	)
	f=$E2E_WORK/shared/forgeries mmoci=$E2E_TOP/bin/mmoci
else
	go build -o "$work/mmoci" ./cmd/mmoci
	MMOCI_FORGERIES=$work/f go test -count=1 -run '^TestWriteForgeries$' ./internal/chaintest >/dev/null
	f=$work/f mmoci=$work/mmoci
fi
k=$f/keys
site=$k/site.asc
up="docker=$k/docker.asc debian=$k/debian.asc security=$k/debian.asc"
hand=scripts/verify-by-hand.sh
export CHECK_VALID_UNTIL=no

# shellcheck disable=SC2086 # $up is words
{
	check "layout, site's key" 0 $hand "$f/good-kept:forged" "$site"
	check "layout, upstream's keys" 0 $hand "$f/good-kept:forged" $up
	check "layout, one prefix" 0 $hand "$f/good-kept:forged" "docker=$k/docker.asc"
	check "layout, both" 0 $hand "$f/good-kept:forged" "$site" $up
	root=$("$mmoci" tag list "oci:$f/good-kept" | awk '$1 == "forged" { print $2 }')
	check "layout, pinned" 0 $hand "$f/good-kept@$root" $up
	check "valid-until, upstream's keys" 3 env CHECK_VALID_UNTIL=yes $hand "$f/good-kept:forged" $up
	check "valid-until, site's key" 0 env CHECK_VALID_UNTIL=yes $hand "$f/good-kept:forged" "$site" $up
	check "another key than the site's" 3 $hand "$f/good-kept:forged" "$k/docker.asc"
	check "another key than upstream's" 3 $hand "$f/good-kept:forged" "docker=$k/debian.asc"
	check "without any key" 2 $hand "$f/good-kept:forged"

	# What verify refuses with both kinds of key, this refuses too, but for what lies only in table and lock, which it does not read.
	while IFS="$(printf '\t')" read -r name making _ _ _ _ _ _ verify _; do
		case $making-$verify in
		resigned-ok | resigned-table | resigned-lock) want=0 ;;
		resigned-* | foreign-statement) want=3 ;;
		*) continue ;;
		esac
		[ "$name-$making" != b-deb-resigned ] || want=3 # its stanza is not upstream's
		check "forged $name, $making" "$want" $hand "$f/$name-$making:forged" "$site" $up
	done <"$f/expected.tsv"
}

# The reader written from the SPEC lists what ls lists.
python3 scripts/read-artifact.py "$f/good-kept" forged >"$work/rows"
awk -F'\t' '$2 ~ /\.deb$/ { print $1, $2, $3, $4 }' "$work/rows" | sort >"$work/theirs"
"$mmoci" ls --json "oci:$f/good-kept:forged" | jq -r '.[] | "\(.prefix) \(.path) \(.size) \(.digest)"' | sort >"$work/ours"
check "read-artifact.py: packages" 0 diff "$work/theirs" "$work/ours"
XDG_STATE_HOME=$work/state "$mmoci" verify --json --report --keyring "$site" "oci:$f/good-kept:forged" |
	jq -r '.listing[] | "\(.path) \(.size) \(.digest)"' | sort >"$work/ours"
awk -F'\t' '{ print $2, $3, $4 }' "$work/rows" | sort >"$work/theirs"
check "read-artifact.py: all files" 0 diff "$work/theirs" "$work/ours"

# Over HTTP.
if command -v registry >/dev/null 2>&1 || [ -x "$(go env GOPATH)/bin/registry" ]; then
	port=${PORT:-15930}
	cat >"$work/config.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
END
	PATH=$PATH:$(go env GOPATH)/bin OTEL_TRACES_EXPORTER=none timeout 300 registry serve "$work/config.yml" >"$work/registry.log" 2>&1 &
	pid=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		curl -fs "http://127.0.0.1:$port/v2/" >/dev/null 2>&1 && break
		sleep 0.5
	done
	"$mmoci" -q copy "oci:$f/good-kept:forged" "127.0.0.1:$port/site/mirror:noble" >/dev/null
	# shellcheck disable=SC2086 # $up is words
	{
		check "registry, site's key" 0 $hand "http://127.0.0.1:$port/site/mirror:noble" "$site"
		check "registry, upstream's keys" 0 $hand "http://127.0.0.1:$port/site/mirror:noble" $up
		check "registry, pinned" 0 $hand "http://127.0.0.1:$port/site/mirror@$root" "$site" $up
		check "registry, no such tag" 3 $hand "http://127.0.0.1:$port/site/mirror:other" "$site"
	}
fi
exit "$failed"
