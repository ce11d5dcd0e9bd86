export MIRROR_SOURCE_DIR=/path/to/sources
export RELEASE_SIGN_KEY_PATH=key.gpg
export RELEASE_SIGN_KEY_PASSPHRASE=passphrase
export APTLY_CONFIG_PATH=aptly.conf
export DISTRO=ubuntu
./build.sh
