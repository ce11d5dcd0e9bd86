# 92-image-layers.sh: the layers of packages, one above the other, are the tree that dpkg makes of the same packages.
#
# dpkg unpacks and configures the same .debs, their scripts taken out, in the same order; the layers are mounted as an
# overlay, as engines do, and once unpacked by umoci. Path, type, mode, owner, link target and content must be the same
# but for what SPEC.md (section 18) names. E2E_SEED repeats a run, E2E_LONG=1 takes more packages.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

seed=${E2E_SEED:-20261128}
closures=2 odd=10
[ -z "${E2E_LONG:-}" ] || closures=20 odd=200
echo "   E2E_SEED=$seed"
CGO_ENABLED=0 GOFLAGS=${GOFLAGS:--buildvcs=false} "${GO:-go}" build -C "$E2E_TOP" -trimpath -o "$work/layers" ./scripts/layers

# the host's sources, with nothing installed
kept=$E2E_CACHE/layers
mkdir -p apt/archives/partial apt/parts "$kept/partial"
: >apt/status
{
	printf 'Dir::State::status "%s";\nDir::Etc::parts "%s";\n' "$work/apt/status" "$work/apt/parts"
	printf '#clear APT::Architectures;\nAPT::Architecture "%s";\nAPT::Architectures { "%s"; };\n' "$arch" "$arch"
	printf 'APT::Install-Recommends "false";\nAPT::Sandbox::User "root";\n#clear DPkg::Pre-Install-Pkgs;\n'
} >apt.conf
lists

# mixed FILE: its lines in an order that the seed decides.
mixed() { awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' "$1" | sort -n | cut -f2-; }

# closure NAME PKG..: the .debs that packages need, in NAME.debs in an order that the seed decides; false if they are over 40 MB.
closure() {
	_name=$1
	shift
	APT_CONFIG=$work/apt.conf apt-get -y -q -o Dir::Cache::archives="$work/apt/archives" --print-uris install "$@" >uris 2>uris.err || return 1
	awk '/^.[a-z]+:/ { n += $3 } END { exit n > 40000000 }' uris || return 1
	APT_CONFIG=$work/apt.conf apt-get -y -q -o Dir::Cache::archives="$kept" -d install "$@" >&2 || return 1
	awk -v dir="$kept/" '/^.[a-z]+:/ { print dir $2 }' uris >uris.debs
	mixed uris.debs >"$_name.debs"
}

# laid_out NAME FLAG..: the layers of NAME.debs as NAME/union.
laid_out() {
	_name=$1
	shift
	mkdir -p "$_name/layers" "$_name/each" "$_name/union"
	# shellcheck disable=SC2046 # paths without blanks
	./layers "$@" -o "$_name/layers" $(cat "$_name.debs") >"$_name/names" 2>"$_name/says" || return 1
	_lower=
	while read -r layer; do
		_dir=${layer%.tar}
		_dir=${_dir%%-*} # short: a mount has one page for all of them
		mkdir "$_name/each/$_dir"
		tar -C "$_name/each/$_dir" --numeric-owner -xpf "$_name/layers/$layer"
		find "$_name/each/$_dir" -name '.wh.*' | while read -r gone; do
			rm -f "$gone"
			_base=$(basename "$gone")
			mknod "$(dirname "$gone")/${_base#.wh.}" c 0 0
		done
		_lower=$_dir${_lower:+:}$_lower
	done <"$_name/names"
	(cd "$_name/each" && mount -t overlay overlay -o lowerdir="$_lower" "$work/$_name/union")
	echo "$work/$_name/union" >>"$work/mounts"
}

# by_dpkg NAME: the tree that dpkg makes of NAME.debs, in NAME/target.
by_dpkg() {
	mkdir -p "$1/stripped" "$1/target/var/lib/dpkg/info" "$1/target/var/lib/dpkg/updates"
	for d in bin lib lib32 lib64 libx32 sbin; do
		mkdir -p "$1/target/usr/$d"
		ln -s usr/$d "$1/target/$d"
	done
	: >"$1/target/var/lib/dpkg/status"
	# shellcheck disable=SC2046 # paths without blanks
	python3 "$E2E_TOP/scripts/e2e/strip-scripts.py" "$1/stripped" $(cat "$1.debs")
	_options="--root=$work/$1/target --log=/dev/null --force-unsafe-io --force-depends --force-breaks --force-conflicts --force-confnew --force-script-chrootless"
	# shellcheck disable=SC2046,SC2086
	dpkg $_options --unpack $(sed "s|.*/|$1/stripped/|" "$1.debs") >"$1/dpkg.log" 2>&1 && dpkg $_options --configure -a >>"$1/dpkg.log" 2>&1
}

# alike UNION ROOT: no difference but those of SPEC.md: files that only a running dpkg has, hard links of which dpkg
# moves one name, and the scripts that were taken out for it.
alike() {
	python3 "$E2E_TOP/scripts/e2e/tree.py" "$1" "$2" >difference
	grep -vE '^missing var/lib/dpkg/(lock|lock-frontend|status-old|triggers/(Lock|Unincorp))$|^more var/lib/dpkg/info/[^/]*\.(preinst|postinst|prerm|postrm|config)$|^links ' difference >differs || return 0
	cat differs
	return 1
}

# as_dpkg NAME: the layers of NAME.debs are what dpkg makes of them.
as_dpkg() {
	by_dpkg "$1" || { tail -n 5 "$1/dpkg.log"; return 1; }
	laid_out "$1" || { tail -n 5 "$1/says"; return 1; }
	alike "$1/union" "$1/target"
}

# shellcheck disable=SC2046 # names
closure fixed nginx-light dash libblas3 ca-certificates $(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p') ||
	die "the packages cannot be had"
check "$(wc -l <fixed.debs) packages, Essential among them, in layers are dpkg's tree" as_dpkg fixed

# The same packages in few layers: as many as are allowed, and the same tree.
few() {
	for most in 1 25; do
		cp fixed.debs few$most.debs
		laid_out few$most -max $most
		[ "$(grep -vc '^s[ky]' few$most/names)" -le $most ]
		alike few$most/union fixed/target
	done
}
check "in 1 and 25 layers they are the same tree" few

# umoci applies layers one after the other, without an overlay. (All of them are in 91-image-build.sh; here it adds each to an image first.)
by_umoci() {
	umoci init --layout oci
	umoci new --image oci:x
	while read -r layer; do umoci raw add-layer --image oci:x "few25/layers/$layer"; done <few25/names
	umoci unpack --image oci:x bundle
	alike bundle/rootfs fixed/target
}
check "in 25 layers, unpacked by umoci, they are the same tree" by_umoci

# dpkg is content with its database.
database() {
	_db=fixed/union/var/lib/dpkg
	dpkg-query --admindir="$_db" -W -f '${Package} ${Version} ${Architecture}\n' | sort >have
	while read -r deb; do dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}\n' "$deb"; done <fixed.debs | sort >want
	cmp have want
	dpkg --admindir="$_db" --instdir=fixed/union --audit >audit
	dpkg --admindir="$_db" --instdir=fixed/union --verify >verify || :
	cat audit verify
	[ ! -s audit ]
	[ ! -s verify ]
	debsums -r "$work/fixed/union" -s -a
}
check "dpkg lists exactly them, and neither audit, verify nor debsums has anything to say" database

# Excluded paths are away, all else stays.
excluded() {
	cp fixed.debs excluded.debs
	laid_out excluded -exclude 'docs man locales'
	python3 "$E2E_TOP/scripts/e2e/tree.py" excluded/union fixed/target >difference
	grep -vE '^missing (usr/share/(man|doc|doc-base|info|gtk-doc|lintian|locale)/|var/lib/dpkg/)|^more var/lib/dpkg/info/|^links ' difference >differs || :
	cat differs
	[ ! -s differs ]
	[ ! -e excluded/union/usr/share/man/man1/dash.1.gz ]
	[ -e excluded/union/usr/share/doc/dash/copyright ]
}
check "without docs, man and locales nothing else is missing" excluded

APT_CONFIG=$work/apt.conf apt-cache dumpavail | awk '/^Package:/ { p = $2 } /^Installed-Size:/ { s = $2 } /^$/ { if (s < 20000) print p; s = 0 }' | sort -u >every
mixed every >candidates
n=0
while [ $n -lt $closures ] && read -r package <&3; do
	closure "closure$n" "$package" || continue
	check "$package with what it needs, $(wc -l <"closure$n.debs") packages, in layers is dpkg's tree" as_dpkg "closure$n"
	n=$((n + 1))
done 3<candidates

# Small packages that get into each other's way: either both make the same tree of them, or neither makes any.
odd_set() {
	mkdir "odd$1"
	python3 "$E2E_TOP/scripts/e2e/odd-packages.py" "$work/odd$1" "$((seed + $1))" >"odd$1.debs"
	laid=0 made=0
	by_dpkg "odd$1" || made=1
	laid_out "odd$1" || laid=1
	if [ $laid = 1 ] && [ $made = 1 ]; then
		echo neither
		return
	fi
	# What dpkg breaks off half-way, because a symlink led to nothing, is no tree to compare with.
	if [ $made = 1 ] && grep -q 'No such file or directory\|Too many levels\|Not a directory' "odd$1/dpkg.log"; then
		echo half
		return
	fi
	[ $laid = $made ] || { tail -n 3 "odd$1/says" "odd$1/dpkg.log"; return 1; }
	alike "odd$1/union" "odd$1/target"
	echo both
}
odd_sets() {
	i=0 both=0 neither=0
	while [ $i -lt $odd ]; do
		odd_set $i >odd.log || { echo "set of seed $((seed + i)):"; cat odd.log; return 1; }
		case $(tail -n 1 odd.log) in both) both=$((both + 1)) ;; neither) neither=$((neither + 1)) ;; esac
		i=$((i + 1))
	done
	echo "$both laid out, $neither refused by both"
	[ $both -ge $((odd / 6)) ]
	[ $neither -gt 0 ]
}
check "$odd sets of packages with Replaces, symlinks, shared directories and conffiles: dpkg's tree, or refused as by dpkg" odd_sets
