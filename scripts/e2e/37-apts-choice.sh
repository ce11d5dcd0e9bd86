# 37-apts-choice.sh: what is asked for at the top comes in the very version that apt would choose.
#
# The real upstream's indices, and beside them an archive of backports (NotAutomatic, ButAutomaticUpgrades) and
# experimental (NotAutomatic) versions; apt-cache policy is the judge of every package that is asked for.
#
# CHOICE_SEED   which packages are drawn (default: any; it is printed)
# CHOICE_COUNT  how many, every second one of the security suite (default 100; 300 with E2E_LONG=1)
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${CHOICE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
count=${CHOICE_COUNT:-$([ -n "${E2E_LONG:-}" ] && echo 300 || echo 100)}
upstream

# --- the archive of late versions, signed by a key of its own
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key late@example.org ed25519 sign never
gpg --batch --armor --export late@example.org >late.asc
python3 "$E2E_TOP/scripts/e2e/late.py" "$work" "$up/.apt/own/lists" "$arch" "$seed" "$count"
for suite in backports experimental; do
	gpg --batch --clearsign --output "late/dists/$suite/InRelease" "late/dists/$suite/Release"
done
gpgconf --kill all
mkdir -p apt/etc/parts apt/lists/partial apt/cache/archives/partial
: >apt/status
sed "s,$up/.apt/own/,$work/apt/,; s,$up/.apt/sources.list,$work/apt/sources.list," "$up/.apt/own.conf" >apt.conf
{
	cat "$up/.apt/sources.list"
	for suite in backports experimental; do echo "deb [arch=$arch signed-by=$work/late.asc] file:$work/late $suite main"; done
} >apt/sources.list
export APT_CONFIG=$work/apt.conf LC_ALL=C
apt-get -q update >&2

# policy FILE: "NAME VERSION" of apt's candidate of each package in FILE.
policy() {
	# shellcheck disable=SC2046 # names
	apt-cache policy $(cat "$1") | awk '/^[^ ]/ { sub(/:$/, ""); name = $1 } /^  Candidate:/ { print name, $2 }' | sort
}

# --- asked for at the top
"$mmoci" key new -o site.asc >&2
archives() {
	selection "$up" | grep -v '^  packages: '
	for suite in backports experimental; do
		printf -- '- {prefix: %s, mode: curated, url: %s, suites: [%s], components: [main], architectures: [%s], signed-by: %s}\n' \
			$suite "$work/late" $suite "$arch" "$work/late.asc"
	done
}

# lock_top: locks what roots.txt names. What neither side can install is left out.
lock_top() {
	for _try in 1 2 3; do
		{ sign_part; echo "packages-from: $work/roots.txt"; archives | sed 's/^  check-valid-until.*//'; } >top.yaml
		sed -i 's/^- {\(.*\)}$/- {\1, check-valid-until: no}/; s/^  mode: curated$/  mode: curated\n  check-valid-until: no/' top.yaml
		if "$mmoci" lock -f top.yaml -o top.lock 2>lock.log; then return 0; fi
		cat lock.log >&2
		sed -n 's/^ *\(mmoci: unsatisfied: \)\{0,1\}\([a-z0-9][a-z0-9.+-]*\)[: ].*/\2/p' lock.log | sort -u | grep -xF -f roots.txt >bad.txt || return 1
		while read -r p; do
			if apt-get -s install "$p" >/dev/null 2>&1; then echo "apt can install $p"; return 1; fi
		done <bad.txt
		grep -vxF -f bad.txt roots.txt >less.txt
		mv less.txt roots.txt
	done
	return 1
}
check "$count packages, seed $seed, are locked from a list at the top" lock_top

# in_apts_version FILE: each package of FILE is in the lock in the version of apt's candidate.
in_apts_version() {
	policy "$1" >wanted
	awk '$1 == "package" { print $5, $6 }' top.lock | sort -u >locked
	comm -23 wanted locked >differs
	echo "$1: $(($(wc -l <wanted) - $(wc -l <differs)))/$(wc -l <wanted) in apt's version"
	cat differs
	[ -s wanted ] && [ ! -s differs ]
}
check "each is in the lock in the version of apt's candidate" in_apts_version roots.txt
grep 'in apt' check.log | sed 's/^/   /'
grep -xF -f secure.txt roots.txt >secure
check "at least a third of them are in the security suite" [ "$(wc -l <secure)" -ge $((count / 3)) ]
check "what backports alone has is taken from there, and what both have never" in_apts_version late.txt
check "the judge sees backports and experimental" grep -q '+late1$' wanted

# --- asked of an archive alone: what the security suite has newer is said of every one
policy secure >candidates
awk '$1 == "-" && $2 == "prefix:" { p = $3 } $1 == "suites:" && /security/ { print p }' top.yaml >security-prefix
security=$(cat security-prefix)
main=$(awk '$1 == "-" && $2 == "prefix:" { print $3; exit }' top.yaml)
mkdir lists
python3 - "$up/.apt/own/lists" candidates >lists/own.txt <<-'END'
	import collections, glob, sys
	there = collections.defaultdict(set)
	for name in glob.glob(sys.argv[1] + "/*_main_binary-*_Packages"):
	    if "security" in name:
	        continue
	    for line in open(name, encoding="utf-8"):
	        if line.startswith("Package: "):
	            package = line[9:].strip()
	        elif line.startswith("Version: "):
	            there[package].add(line[9:].strip())
	for package, version in (line.split() for line in open(sys.argv[2])):
	    if there[package] and version not in there[package]:
	        print(package)
END
head -n 40 lists/own.txt >lists/few.txt
own_list() {
	{
		sign_part
		sed -n '/^archives:/,$p' top.yaml | awk -v main="$main" -v list="$work/lists/few.txt" '
			/^- \{/ { sub(/\}$/, ", packages: none}") }
			{ print }
			$1 == "-" && $2 == "prefix:" { print $3 == main ? "  packages-from: " list : "  packages: none" }'
	} >own.yaml
	"$mmoci" lock -f own.yaml -o own.lock 2>own.log
	cat own.log
	while read -r p; do
		grep -q "^$main: $p .* is taken, for it is asked of $main; $security has .*, newer; \`packages:\` at the top takes it\$" own.log || { echo "nothing is said of $p"; return 1; }
	done <lists/few.txt
	same "how many are said to be newer" "$(grep -c 'is taken, for it is asked of' own.log)" "$(wc -l <lists/few.txt)"
}
check "of $(wc -l <lists/few.txt) packages asked of $main alone each that $security has newer is said" own_list
check "there are some" [ -s lists/few.txt ]
