# 97-rpm.sh: RPM repositories, judged by dnf: an upstream's under its own key, own RPMs under the site's, from one server.
#
# RPMs are built by rpmbuild and signed by rpmsign; repositories are made by createrepo_c and signed by gpg, as their makers do. dnf 4
# lives in a root of its own, checks the signatures of metadata and packages, and knows nothing but the .repo that serve hands out.
# While the tag moves under it, it must see no error. A metalink, wrong bytes and hostile XML come last.
#
# With E2E_LONG=1 the tag moves under 200 refreshes, else under 10.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

refreshes=10
[ -z "${E2E_LONG:-}" ] || refreshes=200

# --- fixtures

export GNUPGHOME="$work/gnupg"
mkdir -m 700 gnupg
gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key 'Upstream <upstream@example.org>' rsa2048 sign never
gpg --batch --armor --export upstream@example.org >upstream.asc
"$mmoci" key new -o site.asc >&2
# gpg's agent would outlive this script.
agent_off() { gpgconf --kill gpg-agent; }
trap 'status=$?; set +e; agent_off; (exit $status); clean_up' EXIT

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

# The same version, built anew, would never reach a host that has it.
rebuilt() {
	cp -r own rebuilt
	build rebuilt agent 0.1 1 agent-tools
	sed 's|rpms: own|rpms: rebuilt|' mmoci.yaml >rebuilt.yaml
	refused 3 'archive own: agent 0.1-1 noarch is sha256:' "$mmoci" push -q -f rebuilt.yaml
}
check "an own RPM under the same version with other bytes is refused" rebuilt

# --- dnf

serve_start serve --follow 500ms
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

# --- another day

newer() {
	before=$("$mmoci" tag digest)
	build upstream hello 1.1 1
	publish upstream
	push
	"$mmoci" diff "oci:mirror@$before" oci:mirror:stable >diff.txt
	grep -q 'hello.*1\.0-1.*1\.1-1' diff.txt && not grep -q greeter diff.txt
	eventually newest
	dnf_in upgrade --refresh hello
	same "after the upgrade" 1.1 "$(cat root/opt/hello/version)"
	"$mmoci" ls --name 'hello' >ls.txt
	same "versions of hello" 2 "$(wc -l <ls.txt)"
}
newest() { curl -sf "$serve/setup/up.repo" | grep -q "$("$mmoci" tag digest | cut -d: -f2 | cut -c1-12)"; }
check "a newer version reaches dnf, and diff names it alone" newer

# The tag moves as fast as upstream can publish, while dnf refreshes with an empty cache each time.
mover() {
	n=0
	until [ -e moved.stop ]; do
		n=$((n + 1))
		createrepo_c --quiet --revision $n upstream
		gpg --batch --yes --quiet --armor --detach-sign --local-user upstream@example.org --output upstream/repodata/repomd.xml.asc upstream/repodata/repomd.xml
		"$mmoci" push -q >>moved.log 2>&1 || echo "push failed" >>moved.log
	done
}
moving() {
	rm -f moved.stop moved.log
	start mover mover
	errors=0
	for i in $(seq $refreshes); do
		rm -rf cache
		dnf_in makecache --refresh >refresh.log 2>&1 || { errors=$((errors + 1)); cat refresh.log; }
	done
	touch moved.stop
	wait "$pid" || :
	not grep 'push failed' moved.log
	seen=$(grep -o '"path":"/snapshot/[^/]*/up/repodata/repomd.xml"' serve.access | sort -u | wc -l)
	echo "   $refreshes refreshes of two repositories over $seen snapshots, $(grep -c '^oci:' moved.log) pushes: $errors errors"
	same errors 0 "$errors"
	[ "$seen" -ge 2 ]
}
check "$refreshes refreshes under a moving tag see no error" moving

# --- what contradicts itself

lies() {
	cp -r upstream bad
	damage bad/hello-1.1-1.noarch.rpm 3000
	sed 's|url: .*|url: bad|' mmoci.yaml >bad.yaml
	refused 3 'up/hello-1.1-1.noarch.rpm' "$mmoci" push -q -f bad.yaml oci:fresh:latest
	damage bad/repodata/repomd.xml 100
	refused 3 repomd.xml "$mmoci" push -q -f bad.yaml oci:fresh:latest
}
check "a wrong byte at the upstream is refused" lies
lie_here() {
	"$mmoci" copy -q oci:mirror:stable oci:broken:latest
	digest=$(sha256sum own/agent-0.1-1.noarch.rpm | cut -d' ' -f1)
	chmod u+w "broken/blobs/sha256/$digest"
	damage "broken/blobs/sha256/$digest" 2000
	refused 3 'own/agent-0.1-1.noarch.rpm' "$mmoci" verify oci:broken:latest
}
check "a wrong byte in an RPM of the snapshot is found" lie_here

# measured FILE COMMAND..: its peak of memory goes into FILE, in kB.
measured() {
	python3 -c '
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write("%d\n" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)' "$@"
}

# Ten million elements, in 30 kB: refused, in the memory that a good repository takes.
hostile() {
	mkdir -p hostile/repodata
	python3 - <<-'END'
		import gzip, hashlib
		head = b'<metadata xmlns="http://linux.duke.edu/metadata/common">'
		with gzip.open("hostile/repodata/primary.xml.gz", "wb", 9) as f:
		    f.write(head)
		    for _ in range(101):
		        f.write(b"<a/>" * 100000)
		    f.write(b"</metadata>")
		data = open("hostile/repodata/primary.xml.gz", "rb").read()
		open("hostile/repodata/repomd.xml", "w").write(
		    '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">%s</checksum>'
		    '<location href="repodata/primary.xml.gz"/><timestamp>1700000000</timestamp><size>%d</size></data></repomd>'
		    % (hashlib.sha256(data).hexdigest(), len(data)))
	END
	printf 'archives:\n- {prefix: h, format: rpm, url: hostile}\n' >hostile.yaml
	_got=0
	measured hostile.rss "$mmoci" push -q -f hostile.yaml --insecure-unsigned oci:fresh:latest 2>hostile.err || _got=$?
	cat hostile.err
	same "exit code" 3 "$_got"
	grep -q 'more than 10000000 elements' hostile.err
	echo "   ten million elements: $(tail -n 1 hostile.rss) kB"
	[ "$(tail -n 1 hostile.rss)" -lt 100000 ]
}
check "hostile XML is refused, within bounds" hostile

# --- places

# A metalink, whose first place is stale, and whose second has everything.
by_metalink() {
	cp -r upstream stale
	createrepo_c --quiet --revision stale stale
	nginx_start places "$work"
	cat >metalink.xml <<-END
		<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">
		<verification><hash type="sha256">$(sha256sum upstream/repodata/repomd.xml | cut -d' ' -f1)</hash></verification>
		<resources><url type="http" preference="100">$nginx/stale/repodata/repomd.xml</url>
		<url type="http" preference="50">$nginx/upstream/repodata/repomd.xml</url></resources>
		</file></files></metalink>
	END
	printf 'sign: {key: site.asc}\narchives:\n- {prefix: up, format: rpm, metalink: "%s/metalink.xml", signed-by: upstream.asc}\n' "$nginx" >metalink.yaml
	"$mmoci" push -q -f metalink.yaml oci:linked:latest
	"$mmoci" verify -f metalink.yaml --keyring site.pub.asc --require upstream oci:linked:latest
}
check "a metalink leads past a stale mirror" by_metalink
