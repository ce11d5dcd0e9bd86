#!/bin/sh
# Makes testdata/gpg: keys and signatures as GnuPG 2.2 writes them, good and bad.
# Run by hand when a case is added; the tests only read the files. The keys are
# new each time, so all files change together.
set -eu
cd "$(dirname "$0")"
out=$PWD/gpg
rm -rf "$out" && mkdir -p "$out"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT

old=20200101T000000
when=20210101T000000
late=20230101T000000
phrase='correct horse'
at() { time=$1; shift; gpg --batch --quiet --yes --faked-system-time "$time" --pinentry-mode loopback --passphrase '' \
	--allow-weak-digest-algos --allow-weak-key-signatures "$@" 2>>"$out/../make.log"; }
ask() { # answers come from standard input
	gpg --quiet --yes --no-tty --faked-system-time "$late" --pinentry-mode loopback --passphrase '' --command-fd 0 "$@" 2>>"$out/../make.log"; }
new() { # NAME ALGORITHM [EXPIRE]
	at "$old" --quick-generate-key "$1 <$1@example.org>" "$2" "${4:-sign}" "${3:-never}"; }
public() { at "$when" --export "$1@example.org" >"$out/$1.gpg"; }
sign() { # FILE OPTIONS..
	file=$1; shift; at "${time_of:-$when}" --output "$out/$file" "$@" "$out/Release"; }

printf 'Origin: Test\nSuite: stable\nCodename: one\nDate: Fri, 01 Jan 2021 00:00:00 UTC\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n' >"$out/Release"

for k in rsa2048 other; do new $k rsa2048; done
new rsa1024 rsa1024
new dsa dsa2048
new expiring rsa2048 2022-01-01
new renewed rsa2048 2022-01-01
new revoked rsa2048
new retired rsa2048
new nistp256 nistp256
new ed25519 ed25519
for k in subkey halfgone; do
	new $k rsa2048 never cert
	at "$old" --quick-add-key "$(at "$old" --list-keys --with-colons $k@example.org | sed -n 's/^fpr:*\([0-9A-F]*\):/\1/p' | head -1)" rsa2048 sign never
done

sign rsa2048.asc -u rsa2048@example.org --clearsign
sign rsa2048.sig -u rsa2048@example.org --armor --detach-sign
sign rsa2048.text.sig -u rsa2048@example.org --armor --textmode --detach-sign
sign binary.sig -u rsa2048@example.org --detach-sign
sign three.asc -u other@example.org -u rsa2048@example.org -u ed25519@example.org --clearsign
sign sigexpires.asc -u rsa2048@example.org --default-sig-expire 30d --clearsign
for k in rsa1024 dsa expiring renewed revoked retired nistp256 ed25519 subkey halfgone; do
	sign $k.asc -u $k@example.org --clearsign
done
for d in MD5 SHA1 RIPEMD160 SHA224; do sign $d.asc -u rsa2048@example.org --digest-algo $d --clearsign; done

fingerprint() { at "$late" --list-keys --with-colons "$1@example.org" | sed -n 's/^fpr:*\([0-9A-F]*\):/\1/p' | sed -n "${2:-1}p"; }
# revocation: 0 no reason, 1 compromised, 3 no longer used
revoke() { printf 'y\n%s\n\ny\n' "$2" | ask --output "$GNUPGHOME/$1.rev" --gen-revoke "$1@example.org" &&
	at "$late" --import "$GNUPGHOME/$1.rev"; }
revoke revoked 1
revoke retired 3
printf 'key 1\nrevkey\ny\n3\n\ny\nsave\n' | ask --edit-key halfgone@example.org
at "$late" --quick-set-expire "$(fingerprint renewed)" 2040-01-01

for k in rsa2048 other rsa1024 dsa expiring renewed revoked retired nistp256 ed25519 subkey halfgone; do public $k; done
at "$when" --armor --export rsa2048@example.org >"$out/rsa2048.pub.asc"
at "$when" --armor --export ed25519@example.org other@example.org >"$out/two.pub.asc"
at "$when" --armor --export-secret-keys rsa2048@example.org >"$out/rsa2048.key.asc"
at "$when" --export-secret-keys subkey@example.org >"$out/subkey.key"
at "$when" --export-secret-subkeys subkey@example.org >"$out/offline.key" # primary key is a stub
at "$when" --armor --export-secret-keys nistp256@example.org >"$out/nistp256.key.asc"
at "$late" --export-secret-keys renewed@example.org >"$out/renewed.key"
gpg --batch --quiet --faked-system-time "$old" --pinentry-mode loopback --passphrase "$phrase" \
	--quick-generate-key 'locked <locked@example.org>' ed25519 sign never
gpg --batch --quiet --faked-system-time "$old" --pinentry-mode loopback --passphrase "$phrase" \
	--armor --export-secret-keys locked@example.org >"$out/locked.key.asc"
public locked
rm -f make.log
