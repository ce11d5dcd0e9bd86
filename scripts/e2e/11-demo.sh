# 11-demo.sh: make demo from a clean copy, as root and as an ordinary user: its five sentences hold, what it tells people to
# type prints what the sentences say, and a demo of which one thing is not true ends with 1.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

# copy DIR: what git would clone, as it is here.
copy() {
	mkdir -p "$1"
	(cd "$E2E_TOP" && git -c safe.directory='*' ls-files -z | xargs -0 cp --parents -t "$1")
}

# sentences FILE: the five are there; the numbers of the first are equal, and that of the file which is really there.
# $numbers are its three numbers.
sentences() {
	sed -n '/^== What was shown/,$p' "$1" >told
	cat told
	numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) \(signed\|fetched\|on disk\): .*/\1/p' told)
	_took=$(sed -n 's/^5\. All of it took \([0-9]*\) s: fetching from Debian .*/\1/p' told)
	# One chain: a function under "not" goes on after what fails.
	same "numbers" 3 "$(echo "$numbers" | wc -l)" &&
		same "different numbers" 1 "$(echo "$numbers" | sort -u | wc -l)" &&
		same "the file on disk" "$(echo "$numbers" | sort -u)" "$(sha256sum "$demo"/debs/"$pkg"_*.deb | cut -d' ' -f1)" &&
		same "sentences" "1 2 3 4 5 " "$(sed -n 's/^\([0-9]\)\. .*/\1/p' told | tr '\n' ' ')" &&
		grep -q "^1\. Three numbers are equal: the SHA256 that Debian signed for $pkg, " told &&
		grep -Eq '^3\. One flipped byte, number [0-9]+ of [^ ]+ in flipped/, is named, with exit code 3; what apt and dpkg know of bare/ is untouched\.$' told &&
		grep -Eq '^4\. A container image of redis-server [^ ]+: [0-9]+ packages, each proved to be the \.deb that Debian signed, by making its layer again(; [a-z]+ ran it, and it answered)?\.$' told &&
		awk '/^[0-9]\. / { if (n && !typed) exit 1; n++; typed = 0 } /^   \$ / { typed++ } END { exit !typed }' told &&
		[ "$_took" -le 600 ] # a minute on an idle machine
}

# typed FILE N: what sentence N tells people to type, typed in demo/ by $as.
typed() {
	awk -v n="$2" '/^[0-9]\. / { on = $1 == n "." } on && /^   \$ / { print substr($0, 6) }' "$1" >typed.sh
	[ -s typed.sh ]
	cp typed.sh "$demo/typed.sh"
	(cd "$demo" && $as sh typed.sh) 2>&1 | tee typed.out
}
typed_numbers() {
	typed "$1" 1
	same "numbers that were typed for" "$(printf '%s\n' "$numbers")" "$(grep -v :// typed.out | grep -Eow '[0-9a-f]{64}')"
}
typed_byte() {
	typed "$1" 3
	same "bytes that differ" 1 "$(grep -Ec '^ *[0-9]+ +[0-7]+ +[0-7]+$' typed.out)"
	grep -q "^mmoci: ${pkg}_.*$(echo "$numbers" | head -n 1)" typed.out
	grep -qx 'exit 3' typed.out
	grep -qx untouched typed.out
}

# --- by an ordinary user: demos in the background, for they mostly wait

# begin NAME [PATH]: the demo in the directory NAME by nobody, with a small package. What it says goes to NAME.out and NAME.err.
nobodys="setpriv --reuid nobody --regid nogroup --clear-groups env -u XDG_STATE_HOME HOME=/nonexistent"
begin() {
	(cd / && exec $nobodys PATH="${2:-$PATH}" PKG=hello "$work/$1/scripts/demo.sh") >"$1.out" 2>"$1.err" &
	echo $! >>pids
	eval "demo_$1=$!"
}

# end NAME..: waits for them. NAME.code is what each ended with.
end() {
	for _demo; do
		_code=0
		eval "wait \$demo_$_demo" || _code=$?
		echo $_code >"$_demo.code"
	done
}

# again NAME: a copy of the directory user/, with what its demo fetched.
again() {
	copy_of "$1"
	cp -a user/demo/upstream "$1/demo/"
}

# copy_of NAME: the directory, without an upstream.
copy_of() {
	mkdir -p "$1/demo"
	cp -a user/scripts user/bin "$1/"
	cp -a user/demo/keys "$1/demo/"
	chown nobody: "$1" "$1/demo"
}

# from_users NAME: a copy that reads the very upstream of user/, which its demo laid out and verified.
from_users() {
	copy_of "$1"
	ln -s ../../user/demo/upstream "$1/demo/upstream"
	printf '#!/bin/sh\nreadlink -f "$1"\n' >"$1/scripts/real-upstream.sh"
}

copy "$work/user"
mkdir -p "$work/user/bin"
cp "$mmoci" "$work/user/bin/"
chown -R nobody: "$work/user"
chmod 755 "$work"
begin user

# --- as root

as='' pkg=docker.io
demo=$work/clone/demo
whole() {
	copy "$work/clone"
	(cd clone && find . -type f -exec sha256sum {} + | sort -k 2) >copied
	(cd clone && GOFLAGS=-buildvcs=false make demo) >demo.out 2>demo.err || { tail demo.err; return 1; }
	sentences demo.out
	grep -Eq '^2\. docker\.io [^ ]+ is installed in root/, which had [0-9]+ packages and nothing else, while the network was down: in a network namespace without even loopback\.$' demo.out
	not grep 'Left out' demo.out
}
check "make demo as root, from a clean copy: five sentences, nothing left out" whole
numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) .*/\1/p' demo.out)
end user # the port of its server is free again, and nobody takes that of the other
check "what is typed for the first prints the three numbers" typed_numbers demo.out

# --- what an ordinary user's demo says

as=$nobodys demo=$work/user/demo pkg=hello
ordinary() {
	same "exit code" 0 "$(cat user.code)" || { tail user.err; return 1; }
	sentences user.out
	grep -Eq '^2\. The [0-9]+ packages that hello [^ ]+ needs came out of the layout' user.out
	grep -q '^   Left out: installing them, for it takes root' user.out
}
check "the demo by an ordinary user: it says what is left out, and why" ordinary
numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) .*/\1/p' user.out)
check "what is typed for the first prints the three numbers" typed_numbers user.out

# A machine that has the base system alone, and makes no namespaces.
mkdir few
for d in /usr/sbin /usr/bin; do
	for f in "$d"/*; do case ${f##*/} in curl | wget | wget.* | unshare) ;; *) ln -sf "$f" few/ ;; esac done
done
printf '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n' >few/unshare
chmod 755 few/unshare
again poor
begin poor "$work/few"

# What is not true is not said: demos of which one thing is not true.

# mmoci_is NAME: a demo in which standard input is what mmoci does, with the true one as $real.
mmoci_is() {
	from_users "$1"
	{ printf '#!/bin/sh\nreal=%s\n' "$work/user/bin/mmoci"; cat; } >"$1/bin/mmoci"
	begin "$1"
}

from_users bytes
mkdir bytes/first
cat >bytes/first/curl <<-END
	#!/bin/sh
	$(command -v curl) "\$@" || exit
	case "\$*" in *"-o blob.deb"*) printf x >>blob.deb ;; esac
END
chmod 755 bytes/first/curl
begin bytes "$work/bytes/first:$PATH"
mmoci_is file <<-'END'
	[ "$1" = pull ] || exec "$real" "$@" # a server is to be what the demo ends
	"$real" "$@" || exit
	printf x >>"$(ls debs/hello_*.deb)"
END
mmoci_is believes <<-'END'
	case "$*" in *flipped*) exit 0 ;; esac
	exec "$real" "$@"
END
mmoci_is unnamed <<-'END'
	case "$*" in *flipped*) echo "mmoci: integrity" >&2; exit 3 ;; esac
	exec "$real" "$@"
END
mmoci_is touches <<-'END'
	case "$*" in *"--root bare"*) echo >>bare/var/lib/dpkg/status ;; esac
	exec "$real" "$@"
END

# --- meanwhile, the rest of what is typed, first root's

as='' demo=$work/clone/demo pkg=docker.io
numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) .*/\1/p' demo.out)
typed_docker() {
	typed demo.out 2
	same "docker.io" "$(sed -n 's/^2\. docker\.io \([^ ]*\) .*/\1/p' demo.out)" "$(sed -n 's/^docker\.io\t//p' typed.out)"
	grep '^Docker version ' typed.out
	chroot "$demo/root" dpkg --audit
}
check "what is typed for the second finds docker.io installed, and dockerd runs" typed_docker
check "what is typed for the third names the byte, exit code 3, untouched" typed_byte demo.out
typed_image() {
	grep -Eq '^4\. .*; (crun|runc) ran it, and it answered\.$' demo.out # both are here, and root may
	typed demo.out 4
	grep -q 'packages: \[redis-server\]' typed.out
	grep -Eq "^$arch: proved $(sed -n 's/^4\. .*: \([0-9]*\) packages.*/\1/p' demo.out), generated 1, files 0$" typed.out
	grep -q '^pkg:deb/debian/redis-server@' typed.out
	grep -qx PONG typed.out
}
check "what is typed for the fourth proves the image, names its packages and has redis answer" typed_image
inside() {
	[ ! -e "$XDG_STATE_HOME/mmoci/pushed" ] # what mmoci remembers of the demo is in demo/, too
	(cd clone && find . -type f ! -path './demo/*' ! -path './bin/*' -exec sha256sum {} + | sort -k 2) | diff copied -
}
check "nothing is written outside of demo/ and bin/" inside

# One digit of any number, or a sentence that is not there, is seen.
seen() {
	for n in 1 2 3; do
		awk -v n=$n '/^   [0-9a-f]+ (signed|fetched|on disk): / && ++k == n { $0 = "   " (substr($0, 4, 1) == "0" ? 1 : 0) substr($0, 5) } { print }' demo.out >wrong.out
		not cmp -s demo.out wrong.out
		not sentences wrong.out
	done
	for n in 1 2 3 4 5; do
		sed "/^$n\. /d" demo.out >wrong.out
		not sentences wrong.out
	done
}
check "this test sees one digit that differs, and a sentence that is missing" seen

# --- the ordinary user's

as=$nobodys demo=$work/user/demo pkg=hello
numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) .*/\1/p' user.out)
typed_extract() {
	typed user.out 2
	grep -qx 'the same' typed.out
}
check "what is typed for the second gives the same packages" typed_extract
check "what is typed for the third names the byte, exit code 3, untouched" typed_byte user.out

end poor bytes file believes unnamed touches
demo=$work/poor/demo
poor() {
	same "exit code" 0 "$(cat poor.code)" || { tail poor.err; return 1; }
	sentences poor.out
	grep -q "fetched: by apt's downloader, for neither curl nor wget is here" poor.out
	grep -q '^   Left out: installing them, .*; and taking the network away, for this machine makes no network namespaces (unshare: unshare failed: Operation not permitted)' poor.out
	numbers=$(sed -n 's/^   \([0-9a-f]\{64\}\) .*/\1/p' poor.out)
	as="$as PATH=$work/few" typed_numbers poor.out
}
check "without curl, wget and namespaces the numbers are there, and what is left out is said" poor

# said NAME TEXT: that demo ended with 1, says TEXT, and no sentence.
said() {
	tail -n 4 "$1.err"
	same "exit code" 1 "$(cat "$1.code")"
	grep -qF -e "$2" "$1.err"
	not grep -q '^[1-5]\. ' "$1.out"
}
check "a registry that answers other bytes: exit code 1, no sentence" said bytes "three numbers are not equal"
check "a file on disk with a byte more: exit code 1, no sentence" said file "three numbers are not equal"
check "a mmoci that believes the flipped byte: exit code 1, no sentence" said believes "ends with 0, not 3"
check "a mmoci that does not name it: exit code 1, no sentence" said unnamed "does not name hello_"
check "a mmoci that touches dpkg's status: exit code 1, no sentence" said touches "what apt and dpkg know has changed"
