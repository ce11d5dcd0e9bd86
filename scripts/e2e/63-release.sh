# 63-release.sh: mmoci's own .debs: built by the release script, served by a snapshot, installed by apt-get.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

built() {
	(cd "$E2E_TOP" && ARCHS=$arch DIST=$work/dist VERSION=1.0 SOURCE_DATE_EPOCH=1767225600 scripts/release.sh)
	(cd dist && sha256sum -c SHA256SUMS)
	deb=$work/dist/mmoci_1.0_$arch.deb
	same "owners" root/root "$(dpkg-deb -c "$deb" | awk '{ print $2 }' | sort -u)"
	same "modes" "-rw-r--r-- -rwxr-xr-x drwxr-xr-x lrwxrwxrwx" "$(dpkg-deb -c "$deb" | awk '{ print $1 }' | LC_ALL=C sort -u | tr '\n' ' ' | sed 's/ $//')"
	same "outside of /usr" "" "$(dpkg-deb -c "$deb" | awk '$6 != "./" && $6 !~ /^\.\/usr\// { print $6 }')"
	same "maintainer scripts" "control" "$(dpkg-deb --ctrl-tarfile "$deb" | tar t | sed 's,^\./,,' | grep . | tr '\n' ' ' | sed 's/ $//')"
	dpkg-deb -I "$deb"
	# The budget of the program. Container images of packages are 1.6 MB of it: dpkg's model, the scratch root, zstd's encoder;
	# the method of apt, the static tree and the pages of packages are 0.9 MB; the front with mirrors is 0.2 MB; plain files, RPM repositories and their XML, merged archives, sources with patches are 1.9 MB;
	# what is told of mistakes before work begins, and where a host is silent, is 0.1 MB.
	bytes=$(wc -c <"dist/mmoci-$arch")
	[ "$bytes" -le 27600000 ] || { echo "the program has $bytes bytes, more than 27,600,000"; return 1; }
}
check "the release script builds program and .deb: all of root's, all below /usr, no script; the program is within its budget" built

# Every page of the Markdown, and no other, is in the .deb; four readers of manual pages find nothing wrong with any.
pages() {
	rm -rf unpacked
	dpkg-deb -x "dist/mmoci_1.0_$arch.deb" unpacked
	same "pages" "$(cd "$E2E_TOP/artifacts/docs/man" && LC_ALL=C ls | grep "[.]md$" | tr '\n' ' ' | sed 's/ $//')" "$(find unpacked/usr/share/man -type f | sed 's,.*/,,; s/gz$/md/' | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
	for source in "$E2E_TOP"/artifacts/docs/man/*.md; do
		page=$(basename "$source" .md)
		file=unpacked/usr/share/man/man${page##*.}/$page
		gunzip "$file.gz"
		mandoc -T lint -W warning "$file" >lint.txt 2>&1 || :
		groff -ww -man -Tutf8 -z "$file" >>lint.txt 2>&1
		MANPAGER=cat LC_ALL=C.UTF-8 man -l --warnings "$file" 2>>lint.txt >"$page.txt"
		[ ! -s lint.txt ] || { cat lint.txt; return 1; }
		lexgrog "$file" | grep -F ": \"${page%.*} - "
		grep -q '^EXAMPLES' "$page.txt"
	done
	mandb -q -c unpacked/usr/share/man 2>/dev/null
	man -M unpacked/usr/share/man -k 'push one snapshot' | grep '^mmoci-push (1)'
}
check "the .deb has a manual page for each command and for mmoci.yaml: mandoc, groff, man and lexgrog find nothing wrong" pages

"$mmoci" key new -o site.asc >&2
printf 'ref: oci:layout:own\nsign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./dist}\n' >mmoci.yaml
served() {
	"$mmoci" push --date 2026-01-01
	serve_start own -f mmoci.yaml
	new_root host
	rm -rf "$root"/etc/apt/sources.list.d/*
	sources_of "$serve" own
	in_root apt-get -q update 2>&1 | tee update.err
	updated update.err
	in_root apt-get -q -y install mmoci
	healthy
	in_root mmoci --version | grep -w 1.0
	cmp "$root/usr/bin/mmoci" "dist/mmoci-$arch"
	for m in oci oci+http; do cmp "$root/usr/lib/apt/methods/$m" "dist/mmoci-$arch"; done
	grep -q -w 'mmoci install' "$root/usr/share/bash-completion/completions/mmoci" || grep -q __start_mmoci "$root/usr/share/bash-completion/completions/mmoci"
	zcat "$root/usr/share/man/man1/mmoci-install.1.gz" | grep -q '^\.TH "MMOCI-INSTALL" "1" "2026-01-01" "mmoci 1.0"'
	zcat "$root/usr/share/man/man5/mmoci.yaml.5.gz" | grep -q '^\.TH "MMOCI.YAML" "5"'
	# What the unit runs is there, and takes these flags.
	command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/mmoci.service")
	mkdir -p "$root/etc/mmoci" "$root/var/lib/mmoci"
	printf 'ref: 127.0.0.1:9/site/mirror:none\nserve: {listen: "127.0.0.1:0"}\n' >"$root/etc/mmoci/mmoci.yaml"
	# shellcheck disable=SC2086 # words
	start unit in_root $command
	eventually grep -q 'listening on ' "$work/unit.log"
	stop "$pid"
	in_root apt-get -q -y purge mmoci
	healthy
	same "left" "" "$(find "$root/usr" -name '*mmoci*' ! -path '*/apt/*')"
}
check "apt-get installs mmoci from a snapshot that mmoci serves; its unit's command runs; purge leaves nothing" served
