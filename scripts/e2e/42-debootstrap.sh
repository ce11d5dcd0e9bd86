# 42-debootstrap.sh: minimal systems by debootstrap and mmdebstrap from a snapshot of this host's own release with its
# updates and security suites, as artifacts/docs/bare-host.md ("Making a root file system") says.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
site
release=bookworm

# The release alone, too: what the mirror's upstream has of it was superseded, so the pool of $up lacks it.
uri=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '($1 == "Debian" || $1 == "Ubuntu") && $2 !~ /security/ { print $2; exit }')
mkdir -p apt/parts
printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "%s";\n' "$work/apt/sources.list" "$work/apt/parts" >apt.conf
echo "deb [arch=$arch signed-by=$(echo "$up"/keyring-debian.*)] ${uri%/} $release main" >apt/sources.list
alone=$E2E_CACHE/$release-alone
required=$(/usr/lib/apt/apt-helper cat-file "$up/debian/dists/$release/main/binary-$arch"/Packages* |
	awk '/^Package:/ { p = $2 } /^Priority: required/ { print p }' | sort -u)
# shellcheck disable=SC2086 # names
APT_CONFIG=$work/apt.conf "$E2E_TOP/scripts/real-upstream.sh" "$alone" apt hello usr-is-merged $required >&2

# A second reference with that suite alone: base.yaml of the page.
nginx_start alone "$alone"
cat >base.yaml <<-END
	ref: oci:base:$release
	sign: {key: $shared/keys/site.asc}
	trust: [$sitekey]
	packages: [apt, usr-is-merged, "@required"]
	archives:
	- prefix: base
	  mode: curated
	  url: $nginx/debian
	  suites: [$release]
	  components: [main]
	  architectures: [$arch]
	  signed-by: $(echo "$alone"/keyring-debian.*)
END
check "the release alone is pushed, as a second reference" "$mmoci" push -f base.yaml
gpg --batch --quiet --dearmor <"$sitekey" >site.gpg
serve_start serve "oci:$shared/layout:site" "oci:base:$release" -f "$shared/site.yaml"

usable() { # ROOT: dpkg has nothing to complain of, and the mirror's sources give security's versions
	root=$1
	healthy
	rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
	curl -sf "$serve/setup/" | sed -n 's|.*/setup/\(.*\)\.sources$|\1|p' | grep -v -e -upstream -e '^base$' | while read -r p; do sources_of "$serve" "$p"; done
	in_root apt-get -q update 2>&1 | tee update.out
	updated update.out
	in_root apt-get -q -y dist-upgrade
	in_root apt-get -q -y install hello
	[ "$(in_root hello)" = "Hello, world!" ]
	for p in apt perl-base; do same $p "$(in_root apt-cache policy $p | sed -n 's/^ *Installed: //p')" "$(in_root apt-cache policy $p | sed -n 's/^ *Candidate: //p')"; done
	healthy
}
# As it would be typed: the curated suite has of each package the version that was chosen, and that is security's in another archive.
check "debootstrap of the curated release is told which packages it lacks" \
	sh -c "! debootstrap --variant=minbase --keyring='$work/site.gpg' $release '$work/fails' $serve/debian >fails.out 2>&1 && grep -q \"Couldn't find these debs\" fails.out"
cat fails.out >&2
by_debootstrap() {
	debootstrap --variant=minbase --keyring="$work/site.gpg" $release "$work/made" "$serve/base"
	usable "$work/made"
}
check "debootstrap of the second reference works, and apt goes on to security's versions" by_debootstrap
by_mmdebstrap() {
	for p in debian debian-security; do curl -sfO "$serve/setup/$p.sources"; done
	mmdebstrap --variant=apt $release "$work/mm" debian.sources debian-security.sources
	usable "$work/mm"
}
check "mmdebstrap of the archives together works at once" by_mmdebstrap
