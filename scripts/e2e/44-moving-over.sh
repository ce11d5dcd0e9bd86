# 44-moving-over.sh: artifacts/docs/moving-over.md, typed as it stands: for each of aptly, reprepro, apt-mirror and
# debmirror its mirror of an upstream of real packages is made, then the same with mmoci; no package is lost, and a host moves.
# Only the addresses of the page are replaced.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
upstream
page=$E2E_TOP/artifacts/docs/moving-over.md
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
for who in up site; do gpg --batch --quiet --passphrase '' --quick-gen-key $who@example.org rsa3072 sign never; done

# --- upstream: the real packages that are at hand, as the whole of a suite with every signature file
mkdir debs
find "$up" -name '*.deb' -size -4M | python3 -c '
import functools, os, subprocess, sys
best = {} # of each package the highest version, as a suite of a distribution has it
for path in sys.stdin.read().split():
    name, version, _ = os.path.basename(path).split("_")
    version = subprocess.check_output(["dpkg-deb", "-f", path, "Version"], text=True).strip()
    if name not in best or subprocess.run(["dpkg", "--compare-versions", version, "gt", best[name][0]]).returncode == 0:
        best[name] = (version, path)
for _, path in best.values():
    print(path)' >chosen
xargs cp -t debs <chosen
say "$(wc -l <chosen) packages"
printf '{"rootDir": "%s", "architectures": ["%s"], "gpgProvider": "gpg"}\n' "$work/publisher" "$arch" >publisher.conf
for args in "repo create -distribution=bookworm -component=main up" "repo add up debs" "publish repo -batch -gpg-key=up@example.org -origin=Up -label=Up -skip-contents up"; do
	# shellcheck disable=SC2086 # words
	command aptly -config=publisher.conf $args >&2
done
mkdir web
ln -s "$work/publisher/public" web/debian
host=127.0.0.44 # port 80, for apt-mirror loses files of other ports
start web python3 -m http.server --bind $host --directory web 80
eventually curl -sf http://$host/debian/dists/bookworm/Release
registry_start registry registry "$work/blobs"

# blocks SECTION: the blocks of that section, in order, as files SECTION.1, SECTION.2..
blocks() {
	python3 - "$page" "$1" <<-'END'
		import re, sys
		text = open(sys.argv[1]).read()
		section = re.search(r"(?ms)^## " + re.escape(sys.argv[2]) + r"\n(.*?)(?=^## |\Z)", text).group(1)
		blocks = [[]]
		for line in section.split("\n"):
		    if line.startswith("    "):
		        blocks[-1].append(line[4:])
		    elif blocks[-1]:
		        blocks.append([])
		for i, b in enumerate([b for b in blocks if b]):
		    open("block.%d" % (i + 1), "w").write("\n".join(b) + "\n")
		print(len([b for b in blocks if b]))
	END
}
# typed: one block, with the addresses of this run.
typed() { # FILE PROGRAM
	sed -e "s|mirror\.example\.org|$host|g" -e "s|registry\.example\.org|$registry/$2|g" -e "s|amd64|$arch|g" "$1"
}
PATH=$E2E_TOP/bin:$PATH

# lost: the check of the page says that nothing is.
lost() {
	cp ../lost.1 lost.sh
	OLD=$1 sh -eu lost.sh >lost.out
	[ -s old.sha256 ] && [ -s new.sha256 ]
	sed 's/^/lost: /' lost.out
	not grep -q . lost.out
}
moved() { # PROGRAM OLD
	mkdir "$1"
	cd "$1"
	mkdir keys
	gpg --batch --export up@example.org >keys/debian-archive-keyring.gpg
	mmoci key new -o keys/site.asc
	printf '{"rootDir": "%s", "architectures": ["%s"], "gpgProvider": "gpg"}\n' "$PWD/aptly" "$arch" >aptly.conf
	n=$(blocks "From $1")
	[ "$n" -ge 3 ]
	for i in $(seq "$n"); do
		case $(head -n 1 "block.$i") in
		ref:*) typed "block.$i" "$1" >mmoci.yaml ;;
		*) typed "block.$i" "$1" >"run.$i" && sh -eux "run.$i" ;;
		esac
	done
	lost "$2"
	mmoci verify
}
(blocks "Is anything lost?" >/dev/null && mv block.1 lost.1)
# host_moves PROGRAM: a host takes the mirror's sources alone, and its apt fetches what it needs for hello from there.
host_moves() {
	cd "$1"
	h=$PWD/host
	mkdir -p "$h/etc/apt/sources.list.d"
	echo "deb http://old.example.org/debian bookworm main" >"$h/etc/apt/sources.list"
	mmoci host sources "$serve" --alone --root "$h"
	not [ -e "$h/etc/apt/sources.list" ]
	apt_own "$1/client"
	printf 'Dir::Etc::sourceparts "%s";\n' "$h/etc/apt/sources.list.d" >>"$apt_conf"
	own apt-get -q update >update.out 2>&1 || :
	updated update.out
	own apt-get -q -y --no-install-recommends --download-only install hello
	dpkg-deb -x "$work/$1/client/archives"/hello_*.deb unpacked
	[ "$(unpacked/usr/bin/hello)" = "Hello, world!" ]
	mmoci host undo --root "$h"
	grep old.example.org "$h/etc/apt/sources.list"
}
for program in aptly reprepro apt-mirror debmirror; do
	case $program in
	aptly) old=aptly/pool ;;
	reprepro) old=reprepro/pool ;;
	*) old=$program ;;
	esac
	check "from $program: the page's commands make both mirrors, nothing is lost, and all of it is proved" moved $program $old
	same_count=$(wc -l <"$program/new.sha256") || same_count=0
	say "$program: $(wc -l <"$program/old.sha256") packages there, $same_count here"
	serve_start "serve-$program" -f "$program/mmoci.yaml"
	check "from $program: a host moves, and back" host_moves $program
	stop "$pid"
done
# The check must be able to fail.
missing() {
	cd debmirror
	sed -i 's/mode: verbatim/mode: curated/; s/^archives:/packages: [hello]\narchives:/' mmoci.yaml
	mmoci push
	not lost debmirror
	grep -q . lost.out
}
check "what is left out is found by the page's check" missing
gpgconf --kill all
