#!/bin/sh
# build.sh: what the mini-mirror's build.sh did, with the names of its environment. It pushes a snapshot, where that built an image.
#
#	export MIRROR_SOURCE_DIR=/path/to/sources       or MIRROR_SOURCE_FILE, its YAML form
#	export RELEASE_SIGN_KEY_PATH=key.gpg            the site's signing key
#	export RELEASE_SIGN_KEY_PASSPHRASE=passphrase
#	export APTLY_CONFIG_PATH=aptly.conf             optional
#	export DISTRO=ubuntu
#	./build.sh
#
# The reference is REGISTRY_URI IMAGE:VERSION-DISTRO, put together as there; without REGISTRY_URI it is an OCI
# layout in this directory. The rest of the environment, HTTP_PROXY, HTTPS_PROXY and NO_PROXY included, is read by mmoci
# itself. Arguments are for mmoci push: ./build.sh --plan
set -eu
IMAGE=${IMAGE:-mini-mirror}
VERSION=${VERSION:-latest}
DISTRO=${DISTRO:-ubuntu_xenial}
REGISTRY_URI=${REGISTRY_URI:-oci:}
EXTRA_TAG_INFO=${EXTRA_TAG_INFO:-}
case $REGISTRY_URI in
oci: | */) ;;
*) REGISTRY_URI=$REGISTRY_URI/ ;;
esac
exec mmoci push "$@" "$REGISTRY_URI$IMAGE:$VERSION-$DISTRO$EXTRA_TAG_INFO"
