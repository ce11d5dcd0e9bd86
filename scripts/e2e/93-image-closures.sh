# 93-image-closures.sh: packages drawn by seed, whatever they are, against mmdebstrap's roots of the same packages, read from a
# server of the same snapshot: path, type, mode, owner, link target, content; the differences are of the kinds that SPEC.md names.
#
# Twenty packages with what they need, together in one image and one root: without Essential and scripts against
# --variant=extract, and with Essential and scripts run against --variant=custom. E2E_LONG=1: 200, each by itself against extract,
# and in ten roots of twenty with scripts. E2E_SEED=N draws others; E2E_GROUPS="3 4" are single ones of the ten groups of the long run.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/images.sh"
. "$E2E_TOP/scripts/e2e/image-trees.sh"

groups=1
[ -z "${E2E_LONG:-}" ] || groups=${E2E_GROUPS:-$(seq 10)}
echo "   E2E_SEED=$seed"

# group N: mmoci.yaml of a snapshot with twenty packages, drawn, their names in drawn.N; the first one is that of all tests.
group() {
	image_snapshot
	if [ "$1" = 1 ]; then
		cp "$shared/images-drawn" drawn.1
		return
	fi
	drawn closures "$seed.$1" 20 $essential >"drawn.$1"
	_up=$up up=$E2E_CACHE/closures-upstream
	# shellcheck disable=SC2046,SC2086 # names
	"$E2E_TOP/scripts/real-upstream.sh" "$up" $essential apt $(cat "drawn.$1") >&2
	# A name of its own: the groups have snapshots of one date, which a server of one name refuses.
	{ sed -n '/^sign:\|^trust:/p' mmoci.yaml; printf 'ref: oci:%s/snapshot.%s:all\n' "$work" "$1"; cat "$up/mmoci.yaml"; } >mmoci.new
	mv mmoci.new mmoci.yaml
	"$mmoci" push >&2
	up=$_up
}

plain() {
	# shellcheck disable=SC2046 # names
	scripts=none image plain no $(cat "drawn.$1")
	against_extract plain
}
each() {
	while read -r p; do
		scripts=none image alone no "$p"
		rm -f alone.lock
		against_extract alone >each.log 2>&1 || { echo "$p:"; tail -n 5 each.log; return 1; }
		echo "$p: $(grep -c ^package alone.lock) packages, $(tail -n 1 each.log)"
	done <"drawn.$1"
}
whole() {
	# shellcheck disable=SC2046 # names
	image whole yes apt $(cat "drawn.$1")
	if ! "$mmoci" image build -q -f whole.yaml oci:images:whole; then
		neither "$1"
		# shellcheck disable=SC2046 # names
		image whole yes apt $(cat "drawn.$1")
	fi
	against_mmdebstrap whole
}
# neither N: takes those of a group out that nobody installs on nothing: their preinst calls what they only depend on
# (owfs-common: adduser). mmdebstrap must fail, too.
neither() {
	for p in $(cat "drawn.$1"); do
		image one yes apt "$p"
		! "$mmoci" image build -q -f one.yaml oci:images:one 2>one.err || continue
		"$mmoci" image lock -f one.yaml -o one.lock
		! theirs one.lock one.theirs custom >theirs.err 2>&1 || die "mmdebstrap installs $p"
		grep "mmdebstrap failed to run" theirs.err
		culprit=$(sed -n 's/.* new \([^ ]*\) package pre-installation script .*/\1/p' one.err)
		echo "neither installs $p: the preinst of $culprit"
		sed -i "/^$p\$/d" "drawn.$1"
		rm -rf one.theirs
	done
}
# told NAME: how many packages, and which differences there were.
told() { echo "     $(grep -c ^package "$1.lock") packages, $(wc -l <"$1.tree") paths; of another kind: $(tail -n 1 check.log)"; }

for i in $groups; do
	group "$i"
	say "group $i: $(paste -sd ' ' "drawn.$i")"
	served
	rm -f plain.lock whole.lock
	if [ -n "${E2E_LONG:-}" ]; then
		check "group $i, each by itself, no script run: what mmdebstrap extracts" each "$i"
		sed -n 's/^/     /; /packages, /p' check.log
	fi
	check "group $i, twenty packages with what they need, no script run: what mmdebstrap extracts" plain "$i"
	told plain
	check "group $i, with Essential and scripts run: what mmdebstrap installs" whole "$i"
	told whole
	stop "$pid"
	rm -rf images whole whole.theirs plain plain.theirs "snapshot.$i"
done
