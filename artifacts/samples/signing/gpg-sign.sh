#!/bin/sh
# gpg-sign.sh KEY..: a signing command of mmoci, with the keys of a GnuPG home: in files, on a smart card, or in a
# token that pkcs11-setup.sh has made known to it. In mmoci.yaml:
#
#   sign: {command: [ci/gpg-sign.sh, FINGERPRINT]}
#   trust: [keys/site.pub.asc]                     # gpg --armor --export FINGERPRINT
#
# GNUPGHOME is the home. SIGN_PIN_FILE names the file of the passphrase or PIN; without it gpg-agent asks, or knows it.
# While a key is rotated both are named, the old one and the new one.
set -eu
case ${MMOCI_SIGN:-} in
clearsign) how=--clear-sign ;;
detach) how=--detach-sign ;;
*) echo "gpg-sign.sh: MMOCI_SIGN is neither clearsign nor detach: mmoci runs this" >&2; exit 2 ;;
esac
[ $# -gt 0 ] || { echo "usage: gpg-sign.sh KEY.." >&2; exit 2; }

# The time that mmoci asks for makes equal input equal bytes. A signature must not be older than its key, though,
# nor than the key's own signature about itself.
at=${MMOCI_SIGN_TIME:?}
for key; do
	known=$(gpg --batch --quiet --with-colons --fixed-list-mode --list-secret-keys -- "$key")
	at=$(echo "$known" | awk -F: -v at="$at" '$1 ~ /^(sec|ssb|uid)$/ && $6 > at { at = $6 } END { print at }')
	set -- "$@" --local-user "$key"
	shift
done
if [ -n "${SIGN_PIN_FILE:-}" ]; then set -- "$@" --pinentry-mode loopback --passphrase-file "$SIGN_PIN_FILE"; fi
exec gpg --batch --quiet --no-tty --armor --digest-algo SHA512 --faked-system-time "$at!" "$@" "$how"
