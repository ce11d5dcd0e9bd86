# 46-made-again.sh: a flat archive with sources and the site's own packages: mmoci verify and verify-by-hand.sh make both
# again, and apt takes packages and sources of them from serve, by the site's key and by upstream's.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key flat@example.org ed25519 sign never
gpg --batch --armor --export flat@example.org >flat.asc
"$mmoci" key new -o site.asc >&2

# make_deb DIR NAME VERSION ARCHITECTURE [SOURCE]: a .deb in DIR.
make_deb() {
	rm -rf tree
	mkdir -p tree/DEBIAN "tree/usr/share/$2" "$1"
	printf 'Package: %s\nVersion: %s\nArchitecture: %s\n%sMaintainer: Site <site@example.org>\nDescription: %s\n' "$2" "$3" "$4" "${5:+Source: $5
}" "$2" >tree/DEBIAN/control
	echo "$2 $3" >"tree/usr/share/$2/payload"
	dpkg-deb --root-owner-group -b tree "$1" >/dev/null
}
# make_source DIR NAME VERSION: a .dsc and its tarball in DIR.
make_source() {
	mkdir -p "$2-$3" "$1"
	echo "$2" >"$2-$3/README"
	tar -cf - "$2-$3" | gzip -n >"$1/$2_$3.tar.gz"
	_f=$1/$2_$3.tar.gz
	printf 'Format: 1.0\nSource: %s\nBinary: %s\nArchitecture: any\nVersion: %s\nMaintainer: Site <site@example.org>\nChecksums-Sha256:\n %s %s %s\nFiles:\n %s %s %s\n' \
		"$2" "$2" "$3" "$(sha256sum <"$_f" | cut -d' ' -f1)" "$(wc -c <"$_f")" "$2_$3.tar.gz" \
		"$(md5sum <"$_f" | cut -d' ' -f1)" "$(wc -c <"$_f")" "$2_$3.tar.gz" >"$1/$2_$3.dsc"
}
make_deb flat tool 1:2.0-1 "$arch" tool-src\ \(2.0-1\)
make_deb flat data 1.0-1 all
make_source flat tool-src 2.0-1
make_deb debs own 1:3.0-1 "$arch" own-src
make_deb debs own-data 3.0-1 all own-src
make_source debs own-src 3.0-1

# The flat archive, as dpkg-scanpackages and dpkg-scansources write it.
for f in flat/*.deb; do
	dpkg-deb -f "$f"
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${f#flat/}" "$(wc -c <"$f")" "$(sha256sum <"$f" | cut -d' ' -f1)"
done >flat/Packages
{
	sed 's/^Source:/Package:/; /^Checksums/,$d' flat/tool-src_2.0-1.dsc
	printf 'Directory: .\nChecksums-Sha256:\n'
	for f in flat/tool-src_2.0-1.dsc flat/tool-src_2.0-1.tar.gz; do echo " $(sha256sum <"$f" | cut -d' ' -f1) $(wc -c <"$f") ${f#flat/}"; done
	echo
} >flat/Sources
gzip -nk flat/Packages flat/Sources
{
	printf 'Origin: Flat\nLabel: Flat\nDate: %s\nArchitectures: %s\nSHA256:\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$arch"
	for f in flat/Packages flat/Packages.gz flat/Sources flat/Sources.gz; do echo " $(sha256sum <"$f" | cut -d' ' -f1) $(wc -c <"$f") ${f#flat/}"; done
} >Release
gpg --batch --clearsign --output flat/InRelease Release

cat >mmoci.yaml <<-END
	ref: oci:$work/layout:day
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- {prefix: flat, mode: curated, url: $work/flat, suites: [./], architectures: [$arch], signed-by: $work/flat.asc, packages: [tool, data], with-sources: yes}
	- {prefix: own, mode: curated, debs: $work/debs}
END
"$mmoci" push -f mmoci.yaml >&2

proved() {
	"$mmoci" verify -f mmoci.yaml --require upstream >verified.txt
	cat verified.txt
	grep -q '^flat: proved; 3 packages, curated from upstream$' verified.txt
	grep -q "^own: site; 3 packages, the site's own\$" verified.txt
}
check "verify proves the flat archive and makes the site's own again" proved
check "verify-by-hand.sh says the same" "$E2E_TOP/scripts/verify-by-hand.sh" "$work/layout:day" site.pub.asc flat=flat.asc
pulled() {
	"$mmoci" pull -f mmoci.yaml -o pulled >&2
	cmp flat/tool-src_2.0-1.tar.gz pulled/flat/tool-src_2.0-1.tar.gz
	gzip -dc pulled/flat/Sources.gz | cmp - flat/Sources
	cmp debs/own-src_3.0-1.dsc pulled/own/pool/main/own-src/own-src_3.0-1.dsc
}
check "pull -o" pulled

serve_start serve -f mmoci.yaml
# sources_from NAME KEY: apt's sources, as /setup gives them out, with the key in a file.
sources_from() {
	apt_own "$1"
	curl -sf -o "$1/sources/$1.sources" "$serve/setup/$1.sources"
	grep -q '^Types: deb deb-src$' "$1/sources/$1.sources"
	sed -i "s|^Signed-By:.*|Signed-By: $work/$2|; /^ /d" "$1/sources/$1.sources"
}
# takes NAME KEY PACKAGE SOURCE: apt-get takes both, without a remark.
takes() {
	sources_from "$1" "$2"
	own apt-get -q update >update.log 2>&1
	updated update.log
	mkdir "$1.d"
	cd "$1.d"
	own apt-get -q -y --download-only install "$3"
	own apt-get -q --download-only source "$3"
	cmp "$4.dsc" "../$5/$4.dsc"
	cmp "$4.tar.gz" "../$5/$4.tar.gz"
}
check "apt-get install and source, of the flat archive, by the site's key" takes flat site.pub.asc tool tool-src_2.0-1 flat
check "the same by upstream's key" takes flat-upstream flat.asc tool tool-src_2.0-1 flat
check "of the site's own" takes own site.pub.asc own own-src_3.0-1 debs
