#!/bin/sh
# The init script of genesis and join, with the names of its pseudocode. It runs on a host without a container runtime.
#
#   deploy_with_miniMirror=yes  reference=REF  keyring=FILE   the mirror's reference, and the key of the site
#   deploy_with_miniMirror=                                   whatever apt is configured for
#   package=docker.io
set -eu

download_miniMirror_image() {
	# Nothing is unpacked or run: a snapshot's packages are blobs of the registry, each asked for by its digest.
	mmoci tag list "$reference"
}

extract_debian_packages_from_miniMirror_image() {
	mmoci pull "$reference" --keyring "$keyring" --extract "$package" -o "$debs" >"$debs.lines"
}

install_docker_from_deb_package() {
	while read -r line; do
		# shellcheck disable=SC2086 # a line is the arguments of one call, in order
		dpkg -i $line
	done <"$debs.lines"
}

install_docker_from_ubuntu_apt() {
	apt-get update
	apt-get install -y --no-install-recommends "$package"
}

package=${package:-docker.io}
debs=${debs:-/var/tmp/miniMirror}
if [ -n "${deploy_with_miniMirror:-}" ]; then
	download_miniMirror_image
	extract_debian_packages_from_miniMirror_image
	install_docker_from_deb_package
else
	install_docker_from_ubuntu_apt
fi
