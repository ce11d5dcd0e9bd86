# 57-signing.sh: the samples of a signing command sign a push, as they ship: with a key of GnuPG's, and with one that
# never leaves a PKCS#11 token. gpgv, apt and mmoci accept it.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

samples=$E2E_TOP/artifacts/samples/signing
home=$(mktemp -d "${TMPDIR:-/tmp}/mmoci-gpg.XXXXXX") # sockets want short names
agents() { for _h in "$home"/*/; do GNUPGHOME=$_h gpgconf --kill all; done; }
trap 'agents; rm -rf "$home"; clean_up' EXIT
umask 022
"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 0 5
printf hunter2 >pin
export SIGN_PIN_FILE=$work/pin
cp "$samples"/*.sh .

# site NAME FINGERPRINT: a configuration whose snapshots that key signs, through the sample.
site_of() {
	mkdir -p "$1"
	cp gpg-sign.sh "$1/gpg-sign.sh"
	cat >"$1/mmoci.yaml" <<-END
		ref: oci:$work/$1/layout:day
		sign: {command: [./gpg-sign.sh, $2]}
		trust: [../$1.pub.asc]
		archives:
		- {prefix: own, mode: curated, debs: $work/debs}
	END
}

# accepted NAME: gpgv, apt and mmoci accept what lies there.
accepted() {
	gpg --batch --yes --dearmor <"$1.pub.asc" >"$1.gpg"
	"$mmoci" push -f "$1/mmoci.yaml" --date 2026-01-01 | tee "$1.ref"
	"$mmoci" verify -f "$1/mmoci.yaml" | tee verified.txt
	rm -rf "$1.tree"
	"$mmoci" pull -f "$1/mmoci.yaml" -o "$1.tree"
	for dists in "$1.tree"/own/dists/own; do
		gpgv --keyring "./$1.gpg" "$dists/InRelease"
		gpgv --keyring "./$1.gpg" "$dists/Release.gpg" "$dists/Release"
	done
	apt_own "$1.apt"
	printf 'Types: deb\nURIs: file:%s\nSuites: own\nComponents: main\nSigned-By: %s\n' "$work/$1.tree/own" "$work/$1.pub.asc" >"$1.apt/sources/own.sources"
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	same candidate 1.1 "$(own apt-cache policy package000 | sed -n 's/ *Candidate: //p')"
	# A second push changes nothing and asks for no signature: the command would fail.
	GNUPGHOME=/nonexistent "$mmoci" push -f "$1/mmoci.yaml" 2>again.txt
	grep 'changed: false' again.txt
	# The same content at another place: the same bytes.
	"$mmoci" push -f "$1/mmoci.yaml" --date 2026-01-01 "oci:$work/$1/other:day" >other.ref
	same "root digest" "$(sed 's/.*@//' "$1.ref")" "$(sed 's/.*@//' other.ref)"
}

with_gpg() {
	export GNUPGHOME="$home/gpg"
	mkdir -m 700 "$GNUPGHOME"
	gpg --batch --pinentry-mode loopback --passphrase-file pin --faked-system-time 20000101T000000! --quick-generate-key 'mmoci site key' ed25519 sign never
	fingerprint=$(gpg --batch --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }')
	gpg --armor --export "$fingerprint" >gpg.pub.asc
	site_of gpg "$fingerprint"
	accepted gpg
}
check "gpg-sign.sh signs a push with a key of GnuPG's: gpgv, apt and mmoci accept it, and equal input gives equal bytes" with_gpg

with_token() {
	module=/usr/lib/softhsm/libsofthsm2.so
	printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >softhsm2.conf
	mkdir -p tokens
	export SOFTHSM2_CONF="$work/softhsm2.conf"
	softhsm2-util --init-token --free --label site --so-pin 4321 --pin hunter2
	# The key is made in the token, and cannot be read out of it. A certificate beside it, as a site's own CA would make one.
	pkcs11-tool --module $module --login --pin hunter2 --keypairgen --key-type rsa:3072 --id 01 --label site
	pkcs11-tool --module $module --read-object --type pubkey --id 01 -o public.der
	openssl rsa -pubin -inform DER -in public.der -out public.pem
	openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 30
	openssl x509 -new -force_pubkey public.pem -subj /CN=site -CA ca.crt -CAkey ca.key -days 30 -outform DER -out site.der
	pkcs11-tool --module $module --login --pin hunter2 --write-object site.der --type cert --id 01 --label site
	pkcs11-tool --module $module --login --pin hunter2 --list-objects --type privkey | grep 'never extractable'
	export GNUPGHOME="$home/token"
	fingerprint=$(./pkcs11-setup.sh $module "$work/token.pub.asc")
	same "fingerprint" "$fingerprint" "$("$mmoci" key show token.pub.asc | awk '{ print $1 }')"
	not grep -rq 'protected-private-key' "$GNUPGHOME/private-keys-v1.d"
	site_of token "$fingerprint"
	accepted token
	# Another PIN, and then a token that is gone.
	printf wrong >wrong
	gpgconf --kill gpg-agent
	SIGN_PIN_FILE=$work/wrong refused 1 "gpg-sign.sh" "$mmoci" push -f token/mmoci.yaml --date 2026-01-02 "oci:$work/none:day"
	mv tokens gone
	gpgconf --kill all
	refused 1 "gpg-sign.sh" "$mmoci" push -f token/mmoci.yaml --date 2026-01-02 "oci:$work/none:day"
	[ ! -e none ]
	refused 2 "in use" ./pkcs11-setup.sh $module other.pub.asc
}
check "gpg-sign.sh signs a push with a key in a PKCS#11 token, which pkcs11-setup.sh made known: the same" with_token
