#!/bin/sh
# pkcs11-setup.sh MODULE PUBLIC-FILE: makes the RSA key of a PKCS#11 token an OpenPGP key in a GnuPG home, once, so that
# gpg-sign.sh signs with it. The secret half stays in the token. MODULE is the token's library, such as
# /usr/lib/softhsm/libsofthsm2.so. Needs gpg, gpg-agent and gnupg-pkcs11-scd, all packages of Debian. Prints the fingerprint.
#
# On the token there are the key and a certificate with the same ID: gnupg-pkcs11-scd finds keys by their certificates.
# Who signed it, and until when it is valid, does not matter.
#
# GNUPGHOME is a new directory, SIGN_PIN_FILE the file of the token's PIN. USER_ID is what the key is called.
set -eu
umask 077
module=${1:?the library of the token} public=${2:?where the public half goes}
: "${GNUPGHOME:?a new directory}" "${SIGN_PIN_FILE:?the file of the PIN}"
[ ! -e "$GNUPGHOME/gpg-agent.conf" ] || { echo "pkcs11-setup.sh: $GNUPGHOME is in use; name a new directory" >&2; exit 2; }
mkdir -p "$GNUPGHOME"
printf 'providers token\nprovider-token-library %s\n' "$module" >"$GNUPGHOME/gnupg-pkcs11-scd.conf"
printf 'scdaemon-program %s\nallow-loopback-pinentry\n' "$(command -v gnupg-pkcs11-scd)" >"$GNUPGHOME/gpg-agent.conf"

# The agent learns which keys the token has. The first one is taken.
grip=$(gpg-connect-agent 'learn --sendinfo' /bye | sed -n 's/^S KEYPAIRINFO \([0-9A-F]*\) .*/\1/p' | head -n 1)
[ -n "$grip" ] || { echo "pkcs11-setup.sh: the token has no certificate with a key" >&2; exit 1; }

# Dated back, so that no snapshot is older than the key that signs it.
gpg --batch --quiet --pinentry-mode loopback --passphrase-file "$SIGN_PIN_FILE" --generate-key <<-END >&2
	Key-Type: RSA
	Key-Grip: $grip
	Key-Usage: sign
	Name-Real: ${USER_ID:-mmoci site key}
	Creation-Date: 20000101T000000
	Expire-Date: 0
	%commit
END
fingerprint=$(gpg --batch --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }')
umask 022
gpg --batch --armor --export "$fingerprint" >"$public"
echo "$fingerprint"
