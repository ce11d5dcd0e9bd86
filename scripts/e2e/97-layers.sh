# 97-layers.sh: layers over a base of real packages, own builds by dpkg-buildpackage, and one archive of them all, read by real apt.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

upstream
"$mmoci" key new -o site.asc >&2
registry_start registry registry "$work/blobs"
{
	echo "sign: {key: site.asc}"
	echo "trust: [site.pub.asc]"
	selection "file://$up" hello
} >base.yaml
sed -i "s#file://$up/*#$up/#" base.yaml
prefix=$(awk '/^- prefix:/ { print $3; exit }' base.yaml)

# The base: real packages in a repository of its own.
check "a base of real packages is pushed" "$mmoci" push -f base.yaml --plain-http "$registry/site/base:latest"
was=$("$mmoci" ls -f base.yaml --plain-http "$registry/site/base:latest" | awk '$1 == "hello" { print $2; exit }')

# A small source, built as its maintainer would; its hello is higher than upstream's.
mkdir -p src/layer-1.0/debian/source build
cd src/layer-1.0
printf '3.0 (native)\n' >debian/source/format
cat >debian/changelog <<END
layer (1.0) unstable; urgency=medium

  * First.

 -- Somebody <somebody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
END
cat >debian/control <<END
Source: layer
Maintainer: Somebody <somebody@example.org>
Section: misc
Priority: optional
Standards-Version: 4.6.2

Package: layer
Architecture: all
Depends: hello (= $was+site1)
Description: of the layer
 It needs the layer's hello.

Package: hello
Architecture: any
Description: higher than upstream's
 Only that.
END
cat >debian/rules <<'END'
#!/usr/bin/make -f
%:
	@true
binary: binary-indep binary-arch
binary-indep:
	mkdir -p debian/tmp/layer/DEBIAN debian/tmp/layer/usr/share/layer
	echo layer >debian/tmp/layer/usr/share/layer/file
	dpkg-gencontrol -player -Pdebian/tmp/layer
	dpkg-deb --root-owner-group -b debian/tmp/layer ..
binary-arch:
	mkdir -p debian/tmp/hello/DEBIAN debian/tmp/hello/usr/share/layer
	echo hello >debian/tmp/hello/usr/share/layer/hello
	dpkg-gencontrol -phello -v@VERSION@ -Pdebian/tmp/hello
	dpkg-deb --root-owner-group -b debian/tmp/hello ..
END
sed -i "s/@VERSION@/$was+site1/" debian/rules
chmod +x debian/rules
cd "$work"
built() { (cd src/layer-1.0 && dpkg-buildpackage -us -uc -d) && cp src/*.deb src/*.dsc src/*.tar.* src/*.changes src/*.buildinfo build/; }
check "dpkg-buildpackage makes .debs, .dsc, .changes and .buildinfo" built

{
	echo "sign: {key: site.asc}"
	echo "trust: [site.pub.asc]"
	cat <<-END
		archives:
		- {prefix: $prefix, from: "$registry/site/base:latest", signed-by: $(awk '/signed-by:/ { print $2; exit }' base.yaml)}
		- {prefix: flock, mode: curated, debs: build, origin: flock, label: builds of the flock}
		- {prefix: all, merge: [$prefix, flock], origin: flock, label: everything}
	END
} >layer.yaml

# A layer in a repository of its own: what the base has is mounted, so only what is new is sent.
layered() {
	"$mmoci" push -f layer.yaml --plain-http "$registry/site/flock:latest" 2>push.err
	cat push.err
	sent=$(sed -n 's/.*uploaded .* in \([0-9]*\) blob.*/\1/p' push.err)
	"$mmoci" pull -f base.yaml --plain-http -o base-tree "$registry/site/base:latest"
	# New are the build's files, the indices and Releases of two archives, what is signed anew of the base, table, lock and statement.
	echo "$sent blobs were sent"
	[ "$sent" -le 32 ]
	for deb in base-tree/"$prefix"/pool/*/*/*/*.deb; do
		not grep -q "PUT .*/site/flock/blobs/.*$(sha256sum <"$deb" | cut -c1-64)" registry.log
	done
}
check "a layer in another repository mounts what the base has" layered
again() { "$mmoci" push -f layer.yaml --plain-http "$registry/site/flock:latest" 2>push.err; cat push.err; grep -q 'changed: false' push.err; }
check "the same push changes nothing" again
proved() {
	"$mmoci" verify -f layer.yaml --plain-http --require upstream "$registry/site/flock:latest" >verify.out
	cat verify.out
	grep -q "^$prefix: proved" verify.out
	grep -q "^all: site (of $prefix (proved) and flock (site)" verify.out
}
check "verify proves the base by upstream's key, and makes the merged archive again" proved

# One address for hosts: apt takes the highest of all, from the merged archive alone.
serve_start serve -f layer.yaml --plain-http "$registry/site/flock:latest"
apt_own host
echo "deb [signed-by=$work/site.pub.asc] $serve/all all main" >host/sources/all.list
aptreads() {
	own apt-get update >update.out 2>&1
	updated update.out
	own apt-cache policy hello >policy.out
	cat policy.out
	grep -q "Candidate: $was+site1" policy.out
	own apt-get download -q layer hello
	cmp "layer_1.0_all.deb" build/layer_1.0_all.deb
	own apt-cache policy | grep -q 'o=flock,.*l=everything'
}
check "apt reads the merged archive: the highest version, from the layer" aptreads
aptsource() {
	echo "deb-src [signed-by=$work/site.pub.asc] $serve/all all main" >host/sources/src.list
	own apt-get update >update.out 2>&1
	updated update.out
	own apt-get source -q --download-only layer
	cmp layer_1.0.dsc build/layer_1.0.dsc
}
check "apt-get source takes the build's source" aptsource
layers() {
	echo "deb [signed-by=$work/site.pub.asc] $serve/flock flock main" >host/sources/all.list
	: >host/sources/src.list
	own apt-get update >update.out 2>&1
	updated update.out
	own apt-cache policy hello | grep -q "Candidate: $was+site1"
}
check "apt reads the layer beside it" layers

# A build again under the same version, and a .changes whose file is another.
rebuilt() {
	rm -rf again
	cp -a build again
	dpkg-deb -R again/layer_1.0_all.deb tree
	echo other >tree/usr/share/layer/file
	dpkg-deb --root-owner-group -b tree again/layer_1.0_all.deb
	sed 's/debs: build/debs: again/' layer.yaml >again.yaml
	refused 2 'layer_1.0_all.deb is not the file that it names: it is sha256:' "$mmoci" push -f again.yaml --plain-http "$registry/site/flock:latest"
	rm again/*.changes again/*.buildinfo
	refused 3 'layer 1.0 all is sha256:' "$mmoci" push -f again.yaml --plain-http "$registry/site/flock:latest"
}
check "a .changes must hold, and a version is not pushed again with other bytes" rebuilt

oracle() { cd "$E2E_TOP" && go test -count=1 -tags real ./internal/merge -run Dpkg; }
check "dpkg agrees on what is the highest version" oracle
