# shellcheck shell=sh
# image-trees.sh: images beside the roots that mmdebstrap makes of the same packages; sourced behind lib.sh.
#
# $up is the upstream that the snapshot was made from, images/ the layout that images go to.

# epoch LOCK: the date of its snapshot.
epoch() { date -u -d "$(sed -n 's/^snapshot [^ ]* //p' "$1")" +%s; }

# image NAME ESSENTIAL PACKAGE..: a plan in NAME.yaml.
image() {
	_image=$1 _essential=$2
	shift 2
	printf 'name: %s\narch: %s\nessential: %s\nscripts: run\npackages: [%s]\n' "$_image" "$arch" "$_essential" "$(echo "$*" | sed 's/ /, /g')" >"$_image.yaml"
}

# unpacked NAME: NAME/rootfs, by umoci.
unpacked() {
	rm -rf "$1"
	umoci unpack --image "images:$1" "$1"
}

# tree DIR: a line for each path: type, mode, owner, link target or digest. Times do not count. Users and groups go by their names,
# and their lists by names alone: a script takes the next number that is free, and dpkg leaves open which script comes first.
tree() {
	(cd "$1" && find . -mindepth 1 \( -path ./proc -o -path ./sys \) -prune -o -printf '%P\t%y %m %U:%G %l\n') | LC_ALL=C sort >tree.paths
	(cd "$1" && find . -mindepth 1 \( -path ./proc -o -path ./sys \) -prune -o -type f -printf '%P\0' | xargs -0 sha256sum) | sed 's/^\\//; s/^\([0-9a-f]*\)  \(.*\)/\2\t\1/' | LC_ALL=C sort >tree.sums
	for _list in passwd group shadow gshadow; do
		case $_list in *group | gshadow) _fields=1,4- ;; *) _fields=1,5- ;; esac
		_sum=$(cut -d : -f $_fields "$1/etc/$_list" 2>/dev/null | LC_ALL=C sort | sha256sum)
		sed -i "s,^etc/$_list\t.*,etc/$_list\t$_sum," tree.sums
	done
	LC_ALL=C join -t "$(printf '\t')" -a 1 tree.paths tree.sums | awk -v etc="$1/etc" '
		BEGIN {
			FS = OFS = "\t"
			while ((getline l < (etc "/passwd")) > 0) { split(l, f, ":"); user[f[3]] = f[1] }
			while ((getline l < (etc "/group")) > 0) { split(l, f, ":"); group[f[3]] = f[1] }
		}
		{
			split($2, w, " "); split(w[3], o, ":")
			rest = substr($2, length(w[1]) + length(w[2]) + length(w[3]) + 3)
			$2 = w[1] " " (w[1] == "l" ? "" : w[2]) " " (o[1] in user ? user[o[1]] : o[1]) ":" (o[2] in group ? group[o[2]] : o[2]) rest
			print
		}'
}

# The kinds of differences that SPEC.md names (section 16, beside mmdebstrap).
cat >kinds <<'END'
cleaned	^(var/log/(dpkg.log|alternatives.log|bootstrap.log|faillog|lastlog|fontconfig.log)|var/log/apt/.*|root/.bash_history)$
cleaned	^(var/cache/ldconfig/aux-cache|var/cache/apt/.*\.bin|var/cache/man/.*|var/lib/apt/lists/.*|etc/machine-id|var/lib/dbus/machine-id)$
cleaned	^(var/lib/systemd/(random-seed|credential.secret)|etc/.pwd.lock|var/lib/dpkg/(lock|lock-frontend|triggers/Lock))$
cleaned	^(etc/(passwd|group|shadow|gshadow|subuid|subgid)-|var/lib/dpkg/[a-z]*-old|var/cache/debconf/.*-old)$
devices	^dev/
runtime	^(run|tmp)/
apt	^(etc/apt|var/cache/apt|var/lib/apt|var/log/apt)(/|$)
machine	^etc/(hostname|resolv.conf|hosts)$
mmdebstrap	^(etc/fstab|var/lib/dpkg/arch)$
skeleton	^(usr/)?lib(32|x32|64)$
triggers	^var/lib/dpkg/triggers/
diversion	^usr/bin/pg_config.libpq-dev$
random	^(var/lib/postgresql/[0-9]+/main/|etc/ssl/(certs/ssl-cert-snakeoil.pem|private/ssl-cert-snakeoil.key)$|etc/ssl/certs/[0-9a-f]{8}\.[0-9]$)
END

# only_kinds A B: what differs between two trees is of these kinds; prints how many of each.
only_kinds() {
	{ diff "$1" "$2" || :; } | sed -n 's/^[<>] \([^\t]*\)\t.*/\1/p' | LC_ALL=C sort -u >differ
	awk -F '\t' 'NR == FNR { name[++n] = $1; re[n] = $2; next }
		{ for (i = 1; i <= n; i++) if ($0 ~ re[i]) { count[name[i]]++; next } print "not explained: " $0; bad = 1 }
		END { for (k in count) print k, count[k]; exit bad }' kinds differ
}

# installed LOCK ROOT: mmdebstrap's tree of the packages of a lock, read from the same upstream.
installed() {
	sed -n "s,^- prefix: \(.*\),\1,p; s,^  suites: \[\(.*\)\],\1,p" "$up/mmoci.yaml" | while read -r prefix && read -r suites; do
		for s in $(echo "$suites" | tr -d ,); do echo "deb [trusted=yes] copy:$up/$prefix $s main"; done
	done >sources.list
	# mmdebstrap gives scripts its own environment: the zone, the language and settings of Python would show.
	env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH="$(epoch "$1")" mmdebstrap --quiet --variant=custom --include="$(sed -n 's/^package \([^ ]*\) \([^ ]*\) .*/\1=\2/p' "$1" | paste -sd,)" \
		--setup-hook='for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done' "" "$2" sources.list
}

# against_mmdebstrap NAME: the image of NAME.yaml is what mmdebstrap makes of its packages, but for these kinds.
against_mmdebstrap() {
	rm -rf "$1.theirs"
	"$mmoci" image build -f "$1.yaml" "oci:images:$1"
	"$mmoci" image lock -f "$1.yaml" -o "$1.lock"
	unpacked "$1"
	installed "$1.lock" "$1.theirs"
	tree "$1/rootfs" >"$1.tree"
	tree "$1.theirs" >"$1.theirs.tree"
	[ "$(wc -l <"$1.theirs.tree")" -gt 4000 ]
	only_kinds "$1.theirs.tree" "$1.tree"
}
