#!/bin/sh
# build.sh: what the mini-mirror's build.sh did, with the names of its environment. It pushes a snapshot, and the image that serves it.
#
#	export MIRROR_SOURCE_DIR=/path/to/sources       or MIRROR_SOURCE_FILE, its YAML form
#	export RELEASE_SIGN_KEY_PATH=key.gpg            the site's signing key
#	export RELEASE_SIGN_KEY_PASSPHRASE=passphrase
#	export APTLY_CONFIG_PATH=aptly.conf             optional
#	export DISTRO=ubuntu
#	REGISTRY_URI=registry.example.org/site/ ./build.sh
#	docker run -p 8000:8000 registry.example.org/site/mini-mirror-server:latest-ubuntu
#
# The reference is REGISTRY_URI IMAGE:VERSION-DISTRO, put together as there; without REGISTRY_URI it is an OCI
# layout in this directory, and no image is made. The image is IMAGE-server, or what SERVER_IMAGE says (none: no image).
# The rest of the environment, HTTP_PROXY, HTTPS_PROXY and NO_PROXY included, is read by mmoci itself. Arguments are
# for mmoci push: ./build.sh --plan
set -eu
IMAGE=${IMAGE:-mini-mirror}
VERSION=${VERSION:-latest}
DISTRO=${DISTRO:-ubuntu_xenial}
REGISTRY_URI=${REGISTRY_URI:-oci:}
EXTRA_TAG_INFO=${EXTRA_TAG_INFO:-}
SERVER_IMAGE=${SERVER_IMAGE:-$IMAGE-server}
case $REGISTRY_URI in
oci:) SERVER_IMAGE=none ;;
*/) ;;
*) REGISTRY_URI=$REGISTRY_URI/ ;;
esac
tag=$VERSION-$DISTRO$EXTRA_TAG_INFO
[ "$SERVER_IMAGE" = none ] || set -- --server-image "$REGISTRY_URI$SERVER_IMAGE:$tag" "$@"
exec mmoci push "$@" "$REGISTRY_URI$IMAGE:$tag"
