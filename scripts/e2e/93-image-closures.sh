# 93-image-closures.sh: packages drawn by seed, with their scripts, against mmdebstrap's roots of the same packages. By default one
# root of five that were drawn once; E2E_LONG=1: 200 packages in forty roots. SEED=N ROOTS=N draws others. Some packages make
# other bytes at each installation (a compiler's cache); what differs is printed, to be explained in SPEC.md or mended.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/image-trees.sh"

once_drawn=
[ -n "${E2E_LONG:-}${SEED:-}" ] || once_drawn=" sphinx-common node-memory-fs pasco libqmi-glib5 csv2latex"
roots=${ROOTS:-1}
[ -z "${E2E_LONG:-}" ] || roots=${ROOTS:-40}
seed=${SEED:-$(date +%s)}
how="SEED=$seed"
[ -z "$once_drawn" ] || how="drawn once"
say "SEED=$seed"

lists
essential=$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p')
up=$E2E_CACHE/closures-upstream
# shellcheck disable=SC2086 # names
"$E2E_TOP/scripts/real-upstream.sh" "$up" $essential >&2 # apt's own lists of that upstream

# names: what may be drawn: no debugging symbols, kernels, documentation or large packages.
names() {
	APT_CONFIG=$up/.apt/own.conf apt-cache dumpavail | awk '
		/^Package:/ { p = $2 } /^Installed-Size:/ { size = $2 } /^Section:/ { section = $2 }
		/^$/ { if (size < 20000 && section !~ /debug|doc|kernel|metapackages|localization/) print p; size = 0 }' | LC_ALL=C sort -u
}

# draw N: the N-th draw: five packages that apt installs together beside Essential, in at most 260 MB.
draw() {
	names | python3 -c '
import random, sys
r = random.Random(f"{sys.argv[1]} {sys.argv[2]}")
print("\n".join(r.sample(sys.stdin.read().split(), 60)))' "$seed" "$1" >candidates
	drawn=''
	_count=0
	while read -r _p && [ $_count -lt 5 ]; do
		# shellcheck disable=SC2086 # names
		upstream_apt --assume-no --no-install-recommends install $essential $drawn "$_p" >plan 2>/dev/null || : # it says no
		_size=$(sed -n 's/^After this operation, \([0-9]*\)[0-9.,]* MB of additional.*/\1/p' plan)
		[ -n "$_size" ] && [ "$_size" -le 260 ] || continue
		drawn="$drawn $_p"
		_count=$((_count + 1))
	done <candidates
}

i=0
while [ $i -lt "$roots" ]; do
	i=$((i + 1))
	if [ -n "$once_drawn" ]; then drawn=$once_drawn; else draw $i; fi
	echo "$drawn" >drawn.$i
	say "root $i:$drawn"
done

i=0
root_of() {
	rm -rf snapshot whole images
	read -r drawn <drawn.$1
	# shellcheck disable=SC2086 # names
	"$E2E_TOP/scripts/real-upstream.sh" "$up" $essential $drawn >&2
	{ printf 'ref: oci:%s/snapshot:all\nsign: {key: site.asc}\ntrust: [site.pub.asc]\n' "$work"; cat "$up/mmoci.yaml"; } >mmoci.yaml
	"$mmoci" push >&2
	# shellcheck disable=SC2086 # names
	image whole yes $drawn
	against_mmdebstrap whole
}
"$mmoci" key new -o site.asc >&2
while [ $i -lt "$roots" ]; do
	i=$((i + 1))
	check "$how, root $i: $(cat drawn.$i)" root_of $i
done
