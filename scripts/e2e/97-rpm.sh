# 97-rpm.sh: RPM repositories, judged by dnf: an upstream's under its own key, own RPMs under the site's, from one server.
#
# RPMs are built by rpmbuild and signed by rpmsign; repositories are made by createrepo_c and signed by gpg, as their makers do. dnf 4
# lives in a root of its own, checks the signatures of metadata and packages, and knows nothing but the .repo that serve hands out.
# While the tag moves under it, it must see no error. The repositories that dnf and librepo test themselves with (Debian's source
# packages) are upstreams, too, where they can be fetched.
#
# With E2E_LONG=1 the tag moves under 200 refreshes, else under 12.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

refreshes=12
[ -z "${E2E_LONG:-}" ] || refreshes=200

# --- fixtures

export GNUPGHOME="$work/gnupg"
mkdir -m 700 gnupg
gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key 'Upstream <upstream@example.org>' rsa2048 sign never
gpg --batch --armor --export upstream@example.org >upstream.asc
"$mmoci" key new -o site.asc >&2
# gpg's agent would outlive this script.
agent_off() { gpgconf --kill gpg-agent; }
trap 'agent_off; clean_up' EXIT

# build DIR NAME VERSION RELEASE [REQUIRES]: a signed RPM.
build() {
	mkdir -p build "$1"
	cat >"build/$2.spec" <<-END
		Name: $2
		Version: $3
		Release: $4
		Summary: $2 of the tests
		License: MIT
		BuildArch: noarch
		${5:+Requires: $5}
		%description
		$2 & <more>, in version $3.
		%install
		mkdir -p %{buildroot}/opt/$2
		echo $3 >%{buildroot}/opt/$2/version
		%files
		/opt/$2
	END
	rpmbuild -bb --quiet --define "_topdir $work/build" --define "_rpmdir $work/$1" --define '_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm' \
		--define '_buildhost tests.example.org' --define "_dbpath $work/build/db" "build/$2.spec"
	rpmsign --addsign --define '_gpg_name upstream@example.org' --define "_gpg_path $GNUPGHOME" --define "__gpg $(command -v gpg)" --define "_dbpath $work/build/db" \
		"$1/$2-$3-$4.noarch.rpm"
}

# publish DIR [OPTION..]: its metadata, signed; in the order of upstreams: repomd.xml first.
publish() {
	_dir=$1
	shift
	createrepo_c --quiet "$@" "$_dir"
	gpg --batch --yes --quiet --armor --detach-sign --local-user upstream@example.org --output "$_dir/repodata/repomd.xml.asc" "$_dir/repodata/repomd.xml"
}

fixtures() {
	build upstream hello 1.0 1
	build upstream greeter 2.0 3 'hello >= 1.0'
	build upstream lib++c 1.0~rc1 1
	publish upstream
	build own agent 0.1 1
	build own agent-tools 0.1 1 agent
}
check "RPMs and their metadata are built and signed" fixtures

cat >mmoci.yaml <<-END
	ref: oci:mirror:stable
	sign: {key: site.asc}
	trust: [site.pub.asc]
	archives:
	- prefix: up
	  format: rpm
	  url: $work/upstream
	  signed-by: upstream.asc
	- prefix: own
	  format: rpm
	  rpms: own
END

# --- push and verify

push() { "$mmoci" push -q; }
check "an upstream's repository and own RPMs are pushed" push
proved() {
	"$mmoci" verify --json >verify.json
	jq -e '.archives | map({(.prefix): [.class, .state, .packages]}) | add == {"up": ["upstream", "proved", 3], "own": ["site", "site", 2]}' verify.json
}
check "upstream's key proves the one, the site vouches for the other" proved
again() {
	before=$("$mmoci" tag digest)
	touch own/*.rpm # another day, the same bytes
	push
	same root "$before" "$("$mmoci" tag digest)"
}
check "the same again changes nothing, whatever the times of the files" again

# --- dnf

serve_start serve
# dnf_in COMMAND..: dnf in a root of its own, with the .repo files of the server and nothing else.
mkdir -p root/var/lib/rpm repos logs cache persist none
for p in up own; do curl -sf -o "repos/$p.repo" "$serve/setup/$p.repo"; done
cat repos/*.repo >&2
: >dnf.conf
dnf_in() {
	dnf -y --quiet --config "$work/dnf.conf" --installroot "$work/root" --releasever 1 --setopt=reposdir="$work/repos" --setopt=cachedir="$work/cache" \
		--setopt=persistdir="$work/persist" --setopt=logdir="$work/logs" --setopt=pluginpath="$work/none" --setopt=varsdir="$work/none" "$@"
}
cache() { dnf_in makecache; }
check "dnf makecache, every signature checked" cache
download() {
	dnf_in download --help >/dev/null 2>&1 || :
	dnf_in install --downloadonly --downloaddir "$work/got" greeter lib++c agent-tools
	for f in upstream/hello-1.0-1 upstream/greeter-2.0-3 upstream/lib++c-1.0~rc1-1 own/agent-0.1-1 own/agent-tools-0.1-1; do
		cmp "$f.noarch.rpm" "got/${f#*/}.noarch.rpm"
	done
}
check "dnf resolves and downloads over both repositories: the very files" download
install() {
	dnf_in install greeter agent-tools
	same "what is installed" 2.0 "$(cat root/opt/greeter/version)"
}
check "dnf installs" install
