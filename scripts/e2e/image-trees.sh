# shellcheck shell=sh
# image-trees.sh: images beside the roots that mmdebstrap makes of the same packages; sourced behind images.sh.
#
# images/ is the layout that images go to.

# epoch LOCK: the date of its snapshot.
epoch() { date -u -d "$(sed -n 's/^snapshot [^ ]* //p' "$1")" +%s; }

# image NAME ESSENTIAL PACKAGE..: a plan in NAME.yaml; its scripts are $scripts (run).
image() {
	_image=$1 _essential=$2
	shift 2
	printf 'name: %s\narch: %s\nessential: %s\nscripts: %s\npackages: [%s]\n' "$_image" "$arch" "$_essential" "${scripts:-run}" "$(echo "$*" | sed 's/ /, /g')" >"$_image.yaml"
}

# unpacked NAME: NAME/rootfs, by umoci.
unpacked() {
	rm -rf "$1"
	umoci unpack --image "images:$1" "$1"
}

# tree DIR [ETC]: a line for each path: type, mode, owner, link target or digest. Times do not count. Users and groups go by their names
# (in ETC, DIR/etc), and their lists by names alone: a script takes the next number that is free, and dpkg leaves open which script comes first.
# So do lists of triggers, without their order, which is that of unpacking.
tree() {
	(cd "$1" && find . -mindepth 1 \( -path ./proc -o -path ./sys \) -prune -o -printf '%P\t%y %m %U:%G %l\n') | LC_ALL=C sort >tree.paths
	(cd "$1" && find . -mindepth 1 \( -path ./proc -o -path ./sys \) -prune -o -type f -printf '%P\0' | xargs -0 sha256sum) | sed 's/^\\//; s/^\([0-9a-f]*\)  \(.*\)/\2\t\1/' | LC_ALL=C sort >tree.sums
	for _list in passwd group shadow gshadow; do
		case $_list in *group | gshadow) _fields=1,4- ;; *) _fields=1,5- ;; esac
		_sum=$(cut -d : -f $_fields "$1/etc/$_list" 2>/dev/null | LC_ALL=C sort | sha256sum)
		sed -i "s,^etc/$_list\t.*,etc/$_list\t$_sum," tree.sums
	done
	for _list in "$1"/var/lib/dpkg/triggers/*; do
		[ -f "$_list" ] || continue
		_name=$(basename "$_list")
		_sum=$(LC_ALL=C sort "$_list" | sha256sum)
		sed -i "s,^var/lib/dpkg/triggers/$_name\t.*,var/lib/dpkg/triggers/$_name\t$_sum," tree.sums
	done
	LC_ALL=C join -t "$(printf '\t')" -a 1 tree.paths tree.sums | awk -v etc="${2:-$1/etc}" '
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

# The kinds of differences that SPEC.md names (section 16, beside mmdebstrap): < is mmdebstrap's line of a path, > the image's.
cat >kinds <<'END'
cleaned	< (var/log/(dpkg\.log|alternatives\.log|bootstrap\.log|faillog|lastlog|fontconfig\.log)|var/log/apt(/.*)?|root/\.bash_history)	
cleaned	< (var/cache/ldconfig/aux-cache|var/cache/apt/.*\.bin|var/cache/man/.*|var/lib/apt/lists/.*|etc/machine-id|var/lib/dbus/machine-id)	
cleaned	< (var/lib/systemd/(random-seed|credential\.secret)|etc/\.pwd\.lock|var/lib/dpkg/(lock|lock-frontend|triggers/Lock))	
cleaned	< (etc/(passwd|group|shadow|gshadow|subuid|subgid)-|var/lib/dpkg/[a-z]*-old|var/cache/debconf/.*-old)	
devices	< dev/
runtime	< (run|tmp)/
apt	< (etc/apt|var/cache/apt|var/lib/apt|var/log/apt)(/.*)?	
apt	> var/(cache/apt/archives|lib/apt/lists)/partial	d 755 root:root $
machine	< etc/(hostname|resolv\.conf|hosts)	
mmdebstrap	< (etc/fstab|var/lib/dpkg/arch)	
skeleton	> (usr/)?lib(32|x32|64)	
order	[<>] usr/local/share/fonts	d 2775 root:staff $
diversion	[<>] usr/bin/pg_config\.libpq-dev	
random	[<>] (var/lib/doc-base/info/files\.yml|var/lib/postgresql/[0-9]+/main/.*|etc/ssl/certs/ssl-cert-snakeoil\.pem|etc/ssl/private/ssl-cert-snakeoil\.key|etc/ssl/certs/java/cacerts)	
random	[<>] etc/ssl/certs/[0-9a-f]{8}\.[0-9]	l  [^ ]* ssl-cert-snakeoil\.pem$
END
# Where no script ran, on both sides, mmdebstrap has no database of dpkg at all, and the image has what is made in place of scripts.
cat >kinds.none <<'END'
mmdebstrap	< (etc/default|etc/default/locale|etc/dpkg|etc/dpkg/dpkg\.cfg\.d|var/cache|var/log|tmp|run|dev)	
mmdebstrap	[<>] var/lib/dpkg(/.*)?	
made	> (etc/(passwd|group|shadow|gshadow|ld\.so\.cache|ca-certificates\.conf|ssl/certs/.*|debian_version|os-release|lsb-release)|usr/lib/os-release)	
made	> usr/lib/.*\.so\.[^/]*	l 
END

# only_kinds A B [KINDS]: what differs between two trees is of these kinds; prints how many of each, and an example.
only_kinds() {
	{ diff "$1" "$2" || :; } | grep '^[<>]' >differ || :
	python3 - differ kinds ${3:+"$3"} <<-'END'
		import collections, re, sys
		kinds = [l.rstrip("\n").split("\t", 1) for f in sys.argv[2:] for l in open(f)]
		count, bad = collections.Counter(), 0
		for line in open(sys.argv[1], errors="replace"):
		    line = line.rstrip("\n")
		    for name, pattern in kinds:
		        if re.match(pattern, line):
		            count[name] += 1
		            break
		    else:
		        bad += 1
		        print("not explained:", line)
		print(*(f"{n} {c}" for n, c in sorted(count.items())), sep=", ")
		sys.exit(bad > 0)
	END
}

# sources PLACE: sources.list of what a server of the snapshot has.
sources() {
	sed -n "s,^- prefix: \(.*\),\1,p; s,^  suites: \[\(.*\)\],\1,p" "$up/mmoci.yaml" | while read -r prefix && read -r suites; do
		for s in $(echo "$suites" | tr -d ,); do echo "deb [trusted=yes] $1/$prefix $s main"; done
	done >sources.list
}

# served: a server of the snapshot that mmoci.yaml names, for mmdebstrap; its URL in sources.list, and in $serve.
served() {
	serve_start serve "$(sed -n 's,^ref: ,,p' mmoci.yaml)"
	sources "$serve"
}

# theirs LOCK ROOT VARIANT: mmdebstrap's tree of the packages of a lock, read from the server of the snapshot.
theirs() {
	# mmdebstrap gives scripts its own environment: the zone, the language and settings of Python would show.
	env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH="$(epoch "$1")" mmdebstrap --quiet --variant="$3" --include="$(sed -n 's/^package \([^ ]*\) \([^ ]*\) .*/\1=\2/p' "$1" | paste -sd,)" \
		--setup-hook='for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done' "" "$2" sources.list
}

# both NAME VARIANT: the image of NAME.yaml, unpacked, and mmdebstrap's root, NAME.theirs; the trees of both.
both() {
	rm -rf "$1.theirs"
	"$mmoci" image build -f "$1.yaml" --lock "$1.lock" "oci:images:$1"
	unpacked "$1"
	theirs "$1.lock" "$1.theirs" "$2"
	tree "$1/rootfs" >"$1.tree"
	tree "$1.theirs" "$([ "$2" = custom ] || echo "$1/rootfs/etc")" >"$1.theirs.tree"
}

# against_mmdebstrap NAME: the image of NAME.yaml, with Essential and scripts run, is what mmdebstrap makes of its packages,
# but for these kinds.
against_mmdebstrap() {
	both "$1" custom
	[ "$(wc -l <"$1.theirs.tree")" -gt 4000 ]
	only_kinds "$1.theirs.tree" "$1.tree"
}

# against_extract NAME: the image of NAME.yaml, no script run, is what mmdebstrap extracts of its packages, but for these kinds.
against_extract() {
	both "$1" extract
	only_kinds "$1.theirs.tree" "$1.tree" kinds.none
}
