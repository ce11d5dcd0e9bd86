# 97-rpm.sh: RPM repositories, judged by dnf: an upstream's under its own key, own RPMs under the site's, from one server.
#
# RPMs are built by rpmbuild and signed by rpmsign; repositories are made by createrepo_c and signed by gpg, as their makers do. dnf 4
# lives in a root of its own, checks the signatures of metadata and packages, and knows nothing but the .repo that serve hands out.
# While the tag moves under it, it must see no error. Wrong bytes and hostile XML follow, and the repositories, RPMs and metalinks
# that dnf, librepo, createrepo_c and rpm test themselves with, of Debian's sources: what becomes of each is judged by Python.
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

# build DIR NAME VERSION RELEASE REQUIRES [..]: signed RPMs, four arguments each; "-" requires nothing.
build() {
	_dir=$1
	shift
	mkdir -p build "$_dir"
	: >build/sub
	: >build/made
	printf 'Name: all\nVersion: 1\nRelease: 1\nSummary: All\nLicense: MIT\nBuildArch: noarch\n%%description\nAll.\n%%install\n' >build/all.spec
	while [ $# -gt 0 ]; do
		cat >>build/sub <<-END
			%package -n $1
			Version: $2
			Release: $3
			Summary: $1 of the tests
			$([ "$4" = - ] || echo "Requires: $4")
			%description -n $1
			$1 & <more>, in version $2.
			%files -n $1
			/opt/$1
		END
		echo "mkdir -p %{buildroot}/opt/$1; echo $2 >%{buildroot}/opt/$1/version" >>build/all.spec
		echo "$_dir/$1-$2-$3.noarch.rpm" >>build/made
		shift 4
	done
	cat build/sub >>build/all.spec
	rpmbuild -bb --quiet --define "_topdir $work/build" --define "_rpmdir $work/$_dir" --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
		--define '_buildhost tests.example.org' --define "_dbpath $work/build/db" build/all.spec
	# shellcheck disable=SC2046 # names without blanks
	rpmsign --addsign --define '_gpg_name upstream@example.org' --define "_gpg_path $GNUPGHOME" --define "__gpg $(command -v gpg)" --define "_dbpath $work/build/db" $(cat build/made)
}

# publish DIR [OPTION..]: its metadata, signed; in the order of upstreams: repomd.xml first.
publish() {
	_dir=$1
	shift
	createrepo_c --quiet "$@" "$_dir"
	gpg --batch --yes --quiet --armor --detach-sign --local-user upstream@example.org --output "$_dir/repodata/repomd.xml.asc" "$_dir/repodata/repomd.xml"
}

fixtures() {
	build upstream hello 1.0 1 - greeter 2.0 3 'hello >= 1.0' lib++c 1.0~rc1 1 -
	publish upstream --zck
	build own agent 0.1 1 - agent-tools 0.1 1 agent
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
	"$mmoci" pull -q -o whole-tree # with its sqlite and zchunk files, as they are
	ls upstream/repodata/*-primary.xml.zck upstream/repodata/*-primary.sqlite.*
	diff -r upstream whole-tree/up
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
	build upstream hello 1.1 1 -
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
	sed 's|url: .*|url: bad|' mmoci.yaml >bad.yaml
	for f in hello-1.1-1.noarch.rpm "repodata/$(cd bad/repodata && echo *primary.xml.gz)" repodata/repomd.xml; do
		damage "bad/$f" 300
		refused 3 "${f#repodata/}" "$mmoci" push -q -f bad.yaml oci:fresh:latest
	done
	not test -e fresh/index.json
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

# Ten million elements, in 30 kB (with E2E_LONG), elements in elements, entities: refused, in the memory that a good repository takes.
hostile() {
	python3 - <<-'END'
		import gzip, hashlib, os
		head = b'<metadata xmlns="http://linux.duke.edu/metadata/common">'
		for kind, text in {
		    "elements": [head] + [b"<a/>" * 100000] * 101,
		    "depth": [head] + [b"<a>" * 100000] * 10,
		    "entities": [b'<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + head + b"&b;" * 1000],
		}.items():
		    top = "hostile-%s/repodata" % kind
		    os.makedirs(top)
		    with gzip.open(top + "/primary.xml.gz", "wb", 6) as f:
		        for t in text:
		            f.write(t)
		        f.write(b"</metadata>")
		    data = open(top + "/primary.xml.gz", "rb").read()
		    open(top + "/repomd.xml", "w").write(
		        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">%s</checksum>'
		        '<location href="repodata/primary.xml.gz"/><timestamp>1700000000</timestamp><size>%d</size></data></repomd>'
		        % (hashlib.sha256(data).hexdigest(), len(data)))
	END
	while read -r kind text; do
		[ "$kind" != elements ] || [ -n "${E2E_LONG:-}" ] || continue
		printf 'archives:\n- {prefix: h, format: rpm, url: hostile-%s}\n' "$kind" >hostile.yaml
		_got=0
		measured hostile.rss "$mmoci" push -q -f hostile.yaml --insecure-unsigned oci:fresh:latest 2>hostile.err || _got=$?
		cat hostile.err
		same "exit code" 3 "$_got"
		grep -q "$text" hostile.err
		echo "   $kind: $(tail -n 1 hostile.rss) kB"
		[ "$(tail -n 1 hostile.rss)" -lt 100000 ]
	done <<-END
		elements more than 10000000 elements
		depth nested more than 32 deep
		entities a document type definition
	END
}
check "hostile XML is refused, within bounds" hostile

# --- what others test with

# The files are kept as Debian's sources have them: four tarballs.
others=$E2E_CACHE/rpm-others
fetch_others() {
	[ ! -e "$others/done" ] || return 0
	upstream # knows where sources come from, and by which key
	_suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	_uri=$(awk -F'|' -v s="$_suite" '$4 == s { print $3; exit }' "$up/.apt/targets.txt")
	_key=$(awk -F'|' -v s="$_suite" '$2 == s { print $4; exit }' "$up/.apt/archives.txt")
	mkdir -p "$others/apt/lists/partial" "$others/apt/cache/archives/partial"
	for s in "$_suite" trixie; do echo "deb-src [signed-by=$_key] $_uri $s main"; done | sort -u >"$others/apt/list"
	sources() {
		(cd "$others" && apt-get -q -o Dir::Etc::sourcelist="$others/apt/list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists="$others/apt/lists" \
			-o Dir::Cache="$others/apt/cache" -o APT::Sandbox::User=root "$@")
	}
	sources update
	for p in librepo dnf rpm createrepo-c; do # some mirrors lack the tarball of the older createrepo-c
		sources source --download-only --tar-only "$p/$_suite" || sources source --download-only --tar-only "$p/trixie"
	done
	rm -rf "$others/apt"
	: >"$others/done"
}
unpack_others() {
	fetch_others
	for p in librepo dnf rpm createrepo-c; do
		mkdir -p "others/$p"
		tar -xf "$others/$p"_*.tar.* -C "others/$p" --strip-components=1
	done
	# shellcheck disable=SC2046 # names without blanks
	(cd others && python3 "$E2E_TOP/scripts/e2e/rpm_judge.py" $(find . -path '*/repodata/repomd.xml' | sed 's,/repodata/repomd.xml$,,; s,^./,,' | sort)) | tee judged
	[ "$(grep -c ' whole$' judged)" -ge 12 ] && [ "$(grep -c ' lacks ' judged)" -ge 6 ]
}
check "the test repositories of dnf, librepo and createrepo_c are there" unpack_others
nginx_start others "$work/others"

# plan FILE LINE..: a configuration of these archives.
plan() {
	_file=$1
	shift
	printf 'sign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n' >"$_file"
	printf -- '- %s\n' "$@" >>"$_file"
}

# Those that are whole are pushed together, byte for byte, those that lack something or have another file are refused, in the words for it.
outcomes() {
	n=0
	plan whole.yaml '{prefix: own, format: rpm, rpms: hello}'
	mkdir hello && cp others/rpm/tests/data/RPMS/hello-[12].0-1.i?86.rpm others/rpm/tests/data/RPMS/hello-2.0-1.x86_64.rpm hello/
	while read -r dir packages verdict rest; do
		n=$((n + 1))
		case $verdict in
		whole) echo "- {prefix: r$n, format: rpm, url: \"$nginx/$dir\"}" >>whole.yaml && echo "$n $dir $packages" >>whole.txt ;;
		lacks)
			plan one.yaml "{prefix: one, format: rpm, url: \"$nginx/$dir\"}"
			refused 1 "not found upstream" "$mmoci" push -q -f one.yaml oci:lacking:latest
			;;
		wrong)
			plan one.yaml "{prefix: one, format: rpm, url: \"$nginx/$dir\"}"
			refused 3 "$rest" "$mmoci" push -q -f one.yaml oci:lacking:latest
			;;
		esac
	done <judged
	not test -e lacking/index.json
	"$mmoci" push -q -f whole.yaml oci:whole:latest
	"$mmoci" pull -q -f whole.yaml oci:whole:latest -o tree
	while read -r n dir packages; do
		cmp "others/$dir/repodata/repomd.xml" "tree/r$n/repodata/repomd.xml"
		[ ! -e "others/$dir/repodata/repomd.xml.asc" ] || cmp "others/$dir/repodata/repomd.xml.asc" "tree/r$n/repodata/repomd.xml.asc"
		same "r$n" "tree/r$n $packages whole" "$(python3 "$E2E_TOP/scripts/e2e/rpm_judge.py" "tree/r$n")"
	done <whole.txt
	echo "   $(wc -l <whole.txt) whole, $(grep -c ' lacks ' judged) that lack files, $(grep -c ' wrong ' judged) with another file"
}
check "each of them has its outcome: pushed byte for byte, or refused in words" outcomes

# dnf has the same packages of them from the mirror as from their own server.
as_dnf_reads() {
	serve_start serve-whole -f whole.yaml oci:whole:latest
	: >mirror.repo
	: >direct.repo
	while read -r n dir packages; do
		curl -sf "$serve/setup/r$n.repo" | sed 's/^\[mmoci-/[/' >>mirror.repo
		printf '[r%s]\nname=r%s\nbaseurl=%s/%s/\n' "$n" "$n" "$nginx" "$dir" >>direct.repo
	done <whole.txt
	for at in mirror direct; do
		mkdir -p "$at.repos" && mv $at.repo "$at.repos/"
		dnf_in --setopt=reposdir="$work/$at.repos" --setopt=cachedir="$work/$at.cache" --setopt=module_platform_id=platform:f26 \
			repoquery --all --disable-modular-filtering --qf '%{repoid} %{name}-%{evr}.%{arch} %{location}' | sort >$at.list
	done
	cmp mirror.list direct.list
	echo "   $(wc -l <mirror.list) packages"
	[ "$(wc -l <mirror.list)" -ge 90 ]
}
check "dnf reads the same packages from the mirror as from each of them" as_dnf_reads

# librepo's two signed ones are of SHA-1; its metalinks lead past places that are not there, or have other files, and what is none is refused.
metalinks() {
	mock=librepo/tests/python/tests/servermock/yum_mock/static
	for d in "$mock/01" librepo/tests/test_data/repo_yum_01; do
		plan one.yaml "{prefix: one, format: rpm, url: \"$nginx/$d\", signed-by: \"others/$d/repodata/repomd.xml.key\"}"
		refused 3 'weak digest SHA-1' "$mmoci" push -q -f one.yaml oci:lacking:latest
	done
	mkdir -p others/yum/harm_checksum/primary.xml/static
	cp -r "others/$mock" others/yum/static
	cp -r "others/$mock/01" others/yum/harm_checksum/primary.xml/static/01
	damage "$(echo others/yum/harm_checksum/primary.xml/static/01/repodata/*primary.xml.gz)" 200
	for m in good_01 badfirsturl firsturlhascorruptedfiles; do
		sed "s/{PORT_PLACEHOLDER}/${nginx##*:}/" "others/$mock/metalink/$m.xml" >others/link.xml
		plan one.yaml "{prefix: one, format: rpm, metalink: \"$nginx/link.xml\"}"
		"$mmoci" push -q -f one.yaml --report report.txt "oci:linked:$m"
		grep "^mirror .* one/filesystem-.*$nginx/yum/" report.txt
	done
	for m in bad_02 really_bad_01 really_bad_02 really_bad_03; do
		plan one.yaml "{prefix: one, format: rpm, metalink: \"others/librepo/tests/test_data/metalinks/metalink_$m\"}"
		refused 3 'malformed metadata' "$mmoci" push -q -f one.yaml oci:lacking:latest
	done
}
check "librepo's metalinks and its keys" metalinks

# A metalink, whose first place is stale, and whose second has everything, under upstream's key.
by_metalink() {
	cp -r upstream others/new
	cp -r upstream others/stale
	createrepo_c --quiet --revision stale others/stale
	cat >others/link.xml <<-END
		<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">
		<verification><hash type="sha256">$(sha256sum upstream/repodata/repomd.xml | cut -d' ' -f1)</hash></verification>
		<resources><url type="http" preference="100">$nginx/stale/repodata/repomd.xml</url>
		<url type="http" preference="50">$nginx/new/repodata/repomd.xml</url></resources>
		</file></files></metalink>
	END
	plan metalink.yaml "{prefix: up, format: rpm, metalink: \"$nginx/link.xml\", signed-by: upstream.asc}"
	"$mmoci" push -q -f metalink.yaml oci:linked:latest
	"$mmoci" verify -f metalink.yaml --require upstream oci:linked:latest
}
check "a metalink leads past a stale mirror" by_metalink
