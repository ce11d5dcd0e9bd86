# 92-image-sbom.sh: what is said of images and mirrors, judged by other people's readers and validators; with E2E_LONG by syft, trivy and osv-scalibr, too.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
GO=${GO:-go}

packages="redis-server openssl ca-certificates"
up=$E2E_CACHE/sbom-upstream
lists
# shellcheck disable=SC2046,SC2086 # names
"$E2E_TOP/scripts/real-upstream.sh" "$up" $packages $(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p') >&2
"$mmoci" key new -o site.asc >&2
{ printf 'ref: oci:%s/snapshot:all\nsign: {key: site.asc}\ntrust: [site.pub.asc]\n' "$work"; cat "$up/mmoci.yaml"; } >mmoci.yaml
"$mmoci" push >&2

# --- judges

(cd "$E2E_TOP/scripts/e2e/judge" && GOFLAGS='' CGO_ENABLED=0 $GO build -o "$work/judge" .) || die "the judge cannot be built"
cdx=$E2E_TOP/.tools/cyclonedx-library-10.3.0
[ -e "$cdx/package.json" ] || {
	mkdir -p "$cdx.new"
	npm install --no-audit --no-fund --ignore-scripts --prefix "$cdx.new" @cyclonedx/cyclonedx-library@10.3.0 ajv@8.20.0 ajv-formats@3.0.1 ajv-formats-draft2019@1.6.1 spdx-expression-parse@5.0.0 >&2 || die "npm does not get CycloneDX's validator"
	rm -rf "$cdx"
	mv "$cdx.new" "$cdx"
}
# The JSON schema of SPDX 2.3 lies in syft's module; SPDX's own is none that Go's proxy has.
SPDX_SCHEMA=$(GOFLAGS='' $GO mod download -json github.com/anchore/syft@v1.57.1 | jq -r .Dir)/schema/spdx-json/spdx-schema-2.3.json
[ -s "$SPDX_SCHEMA" ] || die "the schema of SPDX cannot be had"
export SPDX_SCHEMA
cat >judge.mjs <<'END'
// judge.mjs KIND FILE: a CycloneDX document by CycloneDX's own validator, strictly; an SPDX document by the JSON schema, and its licences
// by the parser of SPDX expressions.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(process.env.CDX + "/package.json");
const [kind, file] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
if (kind === "cyclonedx") {
	const cdx = require("@cyclonedx/cyclonedx-library");
	const fault = await new cdx.Validation.JsonStrictValidator(cdx.Spec.Version.v1dot6).validate(text);
	if (fault !== null) { console.error(JSON.stringify(fault)); process.exit(1); }
} else if (kind === "spdx") {
	const Ajv = require("ajv").default;
	const ajv = new Ajv({ strict: false, allErrors: true });
	require("ajv-formats")(ajv);
	const check = ajv.compile(JSON.parse(readFileSync(process.env.SPDX_SCHEMA, "utf8")));
	if (!check(JSON.parse(text))) { console.error(JSON.stringify(check.errors.slice(0, 5))); process.exit(1); }
} else {
	const parse = require("spdx-expression-parse");
	let told = 0;
	for (const p of JSON.parse(text).packages) {
		if (p.licenseDeclared === "NOASSERTION") continue;
		try { parse(p.licenseDeclared); } catch (e) { console.error(p.name + ": " + p.licenseDeclared + ": " + e.message); process.exit(1); }
		told++;
	}
	console.log(told + " packages tell their licences");
}
END
CDX=$cdx
export CDX

# --- images of packages without base-files, which tells programs the distribution

mkdir -p redis ssl
for i in redis:redis-server ssl:openssl,ca-certificates; do
	printf 'name: %s\narch: %s\npackages: [%s]\nscripts: none\nsync: [{src: README, dest: /README}]\nconfig: {entrypoint: [/bin/%s], env: {A: "b:c"}}\n' "${i%%:*}" "$arch" "${i#*:}" "${i%%:*}" >"${i%%:*}/image.yaml"
	echo "${i%%:*}" >"${i%%:*}/README"
done
registry_start registry registry "$work/storage"
for i in redis ssl; do
	"$mmoci" image build -f $i "$registry/site/$i:1" >$i.ref
	"$mmoci" image lock -f $i -o $i.lock >&2
	sed -n 's/^package \([^ ]*\) \([^ ]*\) \([^ ]*\) .*/\1 \2 \3/p' $i.lock | LC_ALL=C sort >$i.packages
done

released() {
	"$mmoci" copy "$registry/site/redis:1" oci:images:redis
	"$mmoci" image build -f redis --scripts run oci:images:run
	dpkg-deb --fsys-tarfile "$(ls "$up"/*/pool/*/b/base-files/base-files_*.deb)" | tar xf - ./etc/debian_version ./usr/lib/os-release
	for i in redis run; do
		rm -rf $i.root
		umoci raw unpack --image images:$i $i.root
		for f in etc/debian_version usr/lib/os-release etc/os-release; do cmp ${f#etc/os-}release $i.root/$f 2>/dev/null || cmp "$(echo $f | sed 's,^etc/os-,usr/lib/os-,')" $i.root/$f; done
		"$mmoci" image scripts oci:images:$i | grep '^os-release  *-  *-  *made '
		same "dpkg --audit" "" "$(dpkg --root=$i.root --audit)"
	done
	not grep -q '^base-files ' redis.packages
	"$mmoci" image verify oci:images:redis
	"$mmoci" image verify oci:images:run
}
check "an image without base-files tells its distribution as that package does, with and without scripts, and is proved" released

# purls FILE: package URLs as NAME VERSION ARCHITECTURE, sorted.
purls() { sed -n 's,^pkg:deb/debian/\([^@]*\)@\([^?]*\)?arch=\([^&]*\)&distro=debian-[0-9]*$,\1 \2 \3,p' "$1" | sed 's/%2B/+/g; s/%3A/:/g' | LC_ALL=C sort; }

bills() {
	for i in redis ssl; do
		"$mmoci" image sbom "$registry/site/$i:1" >$i.spdx.json
		./judge spdx $i.spdx.json >$i.spdx
		purls $i.spdx | diff $i.packages -
		node judge.mjs spdx $i.spdx.json
		node judge.mjs licences $i.spdx.json
		"$mmoci" image sbom --format cyclonedx "$registry/site/$i:1" >$i.cdx.json
		node judge.mjs cyclonedx $i.cdx.json
		./judge cyclonedx $i.cdx.json >$i.cdx
		purls $i.cdx | diff $i.packages -
		jq -e '[.packages[] | select(.name == "gcc-12-base" or .name == "gcc-12")] | length == 2' $i.spdx.json
	done
	# One that is dual-licensed keeps the choice.
	jq -e '[.packages[] | select(.licenseDeclared | test(" OR "))] | length > 0' redis.spdx.json
}
check "SPDX and CycloneDX name each package of the lock once: the schema of SPDX, SPDX's and CycloneDX's Go libraries, CycloneDX's validator and the parser of SPDX's expressions agree" bills

judges() {
	sed 's/"licenseDeclared":"[A-Z][^"]* AND /&AND /' redis.spdx.json >bad.json
	not node judge.mjs licences bad.json
	jq '.packages[0].surprise = 1' redis.spdx.json >bad.json
	not node judge.mjs spdx bad.json
	jq 'del(.creationInfo)' redis.spdx.json >bad.json
	not node judge.mjs spdx bad.json
	sed 's/"spdxElementId":"SPDXRef-Package-redis-server[^"]*"/"spdxElementId":"SPDXRef-nobody"/' redis.spdx.json >bad.json
	not ./judge spdx bad.json
	sed 's/"type":"library"/"type":"libary"/' redis.cdx.json >bad.json
	not node judge.mjs cyclonedx bad.json
	sed 's/"buildDefinition"/"buildDefinitions"/' redis.slsa.json >bad.json
	not ./judge provenance bad.json
}

provenance() {
	for i in redis ssl; do
		"$mmoci" image sbom --format provenance "$registry/site/$i:1" >$i.slsa.json
		./judge provenance $i.slsa.json >$i.slsa
		same "subject" "subject $(sed 's/.*@sha256://' $i.ref)" "$(head -n 1 $i.slsa)"
		same "snapshot" "$(sed -n 's/^snapshot sha256:\([0-9a-f]*\) .*/\1 snapshot/p' $i.lock)" "$(sed -n 2p $i.slsa)"
		sed -n 's/^\(package\|helper\) \([^ ]* [^ ]* [^ ]*\) sha256:\([0-9a-f]*\) .*/\3 \2/p' $i.lock | sort >want
		tail -n +3 $i.slsa | sort | diff want -
		jq -e --arg fpr "$("$mmoci" key show site.pub.asc | cut -d' ' -f1)" '.predicate.runDetails.builder.id == "openpgp4fpr:" + $fpr' $i.slsa.json
		jq -e '.predicate.buildDefinition.externalParameters.plan.config.env.A == "b:c"' $i.slsa.json
	done
}
check "the provenance names image, snapshot and every .deb by digest: in-toto's Go types take it" provenance
check "each judge refuses what is wrong" judges

mirror() {
	"$mmoci" image sbom >mirror.spdx.json
	node judge.mjs spdx mirror.spdx.json
	./judge spdx mirror.spdx.json >mirror.spdx
	"$mmoci" image sbom --format cyclonedx "oci:$work/snapshot:all" >mirror.cdx.json
	node judge.mjs cyclonedx mirror.cdx.json
	./judge cyclonedx mirror.cdx.json | sort | uniq >mirror.cdx
	sort mirror.spdx | diff - mirror.cdx
	"$mmoci" ls | wc -l >listed
	same "packages of the mirror" "$(cat listed)" "$(wc -l <mirror.spdx)"
}
check "the mirror's own bill names each package that it lists" mirror

affected() {
	skopeo --insecure-policy copy -q --dest-tls-verify=false oci:images:redis "docker://$registry/site/bare:1"
	# Sources as dpkg reads them of the .debs.
	while read -r n v a _ _ path; do
		source=$(dpkg-deb -f "$up/$path" Source)
		echo "$n $v $a ${source%% *}"
	done <"$up/closure.tsv" >sources
	"$mmoci" copy "oci:$work/snapshot:all" "$registry/site/mirror:all" >&2
	for pkg in libssl3 openssl redis-server libc6 glibc nobody; do
		status=0
		"$mmoci" image affected "$pkg" "$registry/*" >found 2>found.err || status=$?
		cat found.err
		same "exit code" 4 $status
		grep -q "site/bare:1@sha256:[0-9a-f]*: nothing is said of it by mmoci" found.err
		same "images named" 1 "$(grep -c 'nothing is said' found.err)"
		for i in redis ssl; do
			while read -r n v a; do
				source=$(awk -v n="$n" -v v="$v" -v a="$a" '$1 == n && $2 == v && $3 == a { print $4 }' sources)
				if [ "$n" = "$pkg" ] || [ "${source:-$n}" = "$pkg" ]; then echo "$(cat $i.ref) $arch $n $v"; fi
			done <$i.packages
		done | LC_ALL=C sort >want
		if [ $pkg = nobody ]; then [ ! -s want ]; else [ -s want ]; fi
		LC_ALL=C sort found | diff want -
	done
}
check "affected finds, over a whole registry, the images whose lock has the binary or source package, and names the one that says nothing" affected

# --- scanners, which take long to build

# scanner PROGRAM MODULE VERSION: $scanner.
scanner() {
	scanner=$E2E_TOP/.tools/$1-$3/$1
	[ -x "$scanner" ] || GOFLAGS='' GOBIN=${scanner%/*} CGO_ENABLED=0 $GO install "$2@$3"
}
# plain: package URLs without what a scanner adds (the source, the point release), with the epoch in the version and the signs that may be escaped or not.
plain() { sed -E 's/@([^?]*)(.*)&epoch=([0-9]+)/@\3:\1\2/; s/&(upstream|distro|source|sourceversion)=[^&]*//g; s/%2B/+/g; s/%3A/:/g; s/%7E/~/g' | LC_ALL=C sort; }
# layers NAME: the bill's packages, each with the diffID of the layer that has it.
layers() { jq -r '.packages[] | select(.sourceInfo // "" | startswith("layer ")) | .name + " " + (.sourceInfo | ltrimstr("layer "))' "$1.spdx.json" | LC_ALL=C sort; }
copied() { # NAME
	rm -rf one
	"$mmoci" copy "$registry/site/$1:1" "oci:one:$1"
}
scanned() {
	scanner syft github.com/anchore/syft/cmd/syft v1.57.1
	for i in redis ssl; do
		copied $i
		SYFT_CHECK_FOR_APP_UPDATE=false "$scanner" scan -q -o json oci-dir:one >$i.syft.json
		jq -r '.artifacts[] | select(.type == "deb") | .purl' $i.syft.json | plain >$i.syft
		plain <$i.spdx | diff - $i.syft
		jq -e '.distro.id == "debian" and ([.artifacts[] | select(.type != "deb" or (.licenses | length) == 0)] | length) == 0' $i.syft.json
		# Each in the layer that has it: where its list of checksums lies.
		jq -r '.artifacts[] | .name as $n | .locations[] | select(.path | test("^/var/lib/dpkg/info/" + ($n | gsub("\\+"; "\\+")) + "(:[a-z0-9]+)?\\.md5sums$")) | $n + " " + .layerID' $i.syft.json | LC_ALL=C sort -u >$i.layers
		layers $i | diff - $i.layers
	done
}
trivy_scanned() {
	GOEXPERIMENT=jsonv2 scanner trivy github.com/aquasecurity/trivy/cmd/trivy v0.74.0
	for i in redis ssl; do
		copied $i
		"$scanner" image --cache-dir trivy --offline-scan --skip-db-update --skip-java-db-update --skip-version-check --scanners license --list-all-pkgs --format json --input one:$i >$i.trivy.json
		jq -r '.Results[] | .Packages[]? | .Identifier.PURL' $i.trivy.json | plain >$i.trivy
		plain <$i.spdx | diff - $i.trivy
		jq -e '.Metadata.OS.Family == "debian" and ([.Results[] | .Packages[]? | select(.InstalledFiles | length > 0)] | length) > 0' $i.trivy.json
		jq -r '.Results[] | .Packages[]? | .Name + " " + .Layer.DiffID' $i.trivy.json | LC_ALL=C sort >$i.layers
		layers $i | diff - $i.layers
	done
}
scalibr_scanned() {
	scanner scalibr github.com/google/osv-scalibr/binary/scalibr v0.5.3
	for i in redis ssl; do
		copied $i
		skopeo copy -q oci:one:$i docker-archive:$i.tar:$i:1
		"$scanner" scan --image-tarball $i.tar --plugins os/dpkg -o cdx-json=$i.scalibr.json
		jq -r '.components[].purl' $i.scalibr.json | plain >$i.scalibr
		plain <$i.spdx | diff - $i.scalibr
	done
}
if [ -n "${E2E_LONG:-}" ]; then
	check "syft finds the same packages, none twice, all with licences, each in the layer that has it" scanned
	check "so does trivy" trivy_scanned
	check "osv-scalibr finds the same packages" scalibr_scanned
fi
