#!/bin/sh
# Builds dist/: mmoci-ARCH, static, for every architecture; mmoci_VERSION_ARCH.deb
# of each (binary, completion, manual pages, systemd unit); SHA256SUMS. The manual
# pages are made of the Markdown in artifacts/docs/man. The same
# tree and Go make the same bytes. Needs go and git; dpkg-deb for the .debs.
#
#   ARCHS    architectures by Debian's names (default: all)
#   VERSION  of the .debs (default: of git describe)
#   AGAIN=1  build everything a second time, from a copy elsewhere and with an empty cache, and compare
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
GO=${GO:-go}
need git "$GO"
dist=${DIST:-$PWD/dist}
archs=${ARCHS:-amd64 arm64 armhf ppc64el riscv64 s390x}
VERSION=${VERSION:-$(git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g')}
VERSION=${VERSION:-0.0+git$(git show -s --format=%cd --date=format:%Y%m%d.%H%M%S)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct)}
export SOURCE_DATE_EPOCH VERSION
umask 022

goarch() {
	case $1 in
	armhf) echo arm ;;
	i386) echo 386 ;;
	ppc64el) echo ppc64le ;;
	*) echo "$1" ;;
	esac
}

# build OUT ARCH: nothing of this machine, directory or time is in it.
build() {
	GOOS=linux GOARCH=$(goarch "$2") GOARM=7 CGO_ENABLED=0 GOFLAGS='' \
		"$GO" build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.release=$VERSION" -o "$1" ./cmd/mmoci
}

# package OUT-DIR ARCH DOCS: a binary package (deb(5)).
package() {
	root=$(mktemp -d)
	mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/share/man/man5" "$root/usr/share/bash-completion/completions" "$root/usr/lib/systemd/system" \
		"$root/usr/share/doc/mmoci" "$root/usr/share/lintian/overrides" "$root/usr/lib/apt/methods"
	cp "$1/mmoci-$2" "$root/usr/bin/mmoci"
	for m in oci oci+http; do ln -s ../../../bin/mmoci "$root/usr/lib/apt/methods/$m"; done # apt's sources oci://..
	for page in "$3"/man/*; do gzip -9nc "$page" >"$root/usr/share/man/man${page##*.}/${page##*/}.gz"; done
	cp "$3/completion" "$root/usr/share/bash-completion/completions/mmoci"
	cp artifacts/mmoci.service "$root/usr/lib/systemd/system/mmoci.service"
	cp artifacts/SPEC.md "$3/copyright" "$root/usr/share/doc/mmoci/"
	gzip -9nc "$3/changelog" >"$root/usr/share/doc/mmoci/changelog.gz"
	echo "mmoci: statically-linked-binary [usr/bin/mmoci]" >"$root/usr/share/lintian/overrides/mmoci" # for hosts whose libc is another or none
	cat >"$root/DEBIAN/control" <<-END
		Package: mmoci
		Version: $VERSION
		Architecture: $2
		Maintainer: mmoci <mmoci@example.org>
		Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
		Section: admin
		Priority: optional
		Description: apt mirror in OCI registries
		 Freezes Debian archives into content-addressed OCI artifacts, pushes them to
		 any registry, serves them to apt, and installs packages on hosts that have
		 neither network nor container runtime.
	END
	chmod -R u=rwX,go=rX "$root"
	chmod 755 "$root/usr/bin/mmoci"
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	dpkg-deb --root-owner-group -Zxz --build "$root" "$1/mmoci_${VERSION}_$2.deb" >/dev/null
	rm -rf "$root"
}

# terms PROGRAM: who holds the rights in it: ours, and Go's and the modules' that are linked into it, whose notices and
# terms have to go where the program goes. The Apache licence is on every Debian host.
terms() {
	printf 'Copyright %s the authors of mmoci.\n\nLinked into it statically are Go and these modules; their notices and terms follow.\n\n' \
		"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y)"
	"$GO" version -m "$1" | awk '$1 == "dep" { print "   ", $2, $3 }'
	term "Go" "$("$GO" env GOROOT)"
	"$GO" version -m "$1" | awk '$1 == "dep" { print $2 }' | while read -r module; do
		term "$module" "$(GOFLAGS='' "$GO" list -m -f '{{.Dir}}' "$module")"
	done
}

# term NAME DIR: the notices and terms in a directory.
term() {
	for f in "$2"/LICENSE "$2"/LICENSE.txt "$2"/NOTICE; do
		[ -f "$f" ] || continue
		printf '\n-- %s: %s\n\n' "$1" "${f##*/}"
		tr -d '\r' <"$f" | awk '
			/^ *Apache License$/ { print "Apache License, version 2.0: /usr/share/common-licenses/Apache-2.0"; apache = 1; next }
			apache && /^-----/ { apache = 0 }
			!apache || /^ *Copyright [0-9(]/'
	done
}

# documents DIR: manual pages, completion, and what Debian asks of a package.
documents() {
	GOFLAGS='' CGO_ENABLED=0 "$GO" build -trimpath -buildvcs=false -ldflags "-X main.release=$VERSION" -o "$1/mmoci" ./cmd/mmoci # of the machine that builds
	mkdir "$1/man"
	GO=$GO artifacts/docs/man/render.sh "$1/man" "$VERSION" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)"
	"$1/mmoci" completion bash >"$1/completion"
	terms "$1/mmoci" >"$1/copyright"
	printf 'mmoci (%s) unstable; urgency=medium\n\n  * Release.\n\n -- mmoci <mmoci@example.org>  %s\n' "$VERSION" \
		"$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$1/changelog"
}

# everything OUT-DIR: all of the release.
everything() {
	out=$1
	mkdir -p "$out"
	for a in $archs; do build "$out/mmoci-$a" "$a"; done
	if command -v dpkg-deb >/dev/null; then
		docs=$(mktemp -d)
		documents "$docs"
		for a in $archs; do package "$out" "$a" "$docs"; done
		rm -rf "$docs"
	else
		say "no dpkg-deb: no .debs"
	fi
	(cd "$out" && sha256sum mmoci* >SHA256SUMS)
}

rm -rf "$dist"
everything "$dist"
if [ "${AGAIN:-}" = 1 ]; then
	other=$(mktemp -d)
	trap 'chmod -R u+w "$other"; rm -rf "$other"' EXIT
	git ls-files -co --exclude-standard | while read -r f; do [ ! -e "$f" ] || echo "$f"; done | tar -cf - -T - | (mkdir "$other/src" && tar -C "$other/src" -xf -)
	(cd "$other/src" && GOCACHE=$other/cache && export GOCACHE && everything "$other/dist")
	cmp "$dist/SHA256SUMS" "$other/dist/SHA256SUMS" || die "two builds differ"
	say "built twice, in two places: the same bytes"
fi
(cd "$dist" && ls -l && cat SHA256SUMS) >&2
