# 39-old-apt.sh: hosts whose apt is older than 2.3.10, which takes no key inline in a .sources. A real bullseye (apt 2.2.4)
# is made from a snapshot of bullseye by the recipe of /setup/, and uses each text that is meant for it.
# E2E_OLD names another release, "buster" or "focal", that this machine's own source of Debian or Ubuntu has.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
old=${E2E_OLD:-bullseye}

# --- the old release, from where this machine's own apt has its distribution
uri=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '($1 == "Debian" || $1 == "Ubuntu") && $2 !~ /security/ { print $2; exit }')
say "$old from where this machine's apt has its own release"
mkdir -p apt/parts
cat >apt.conf <<-END
	Dir::Etc::sourcelist "$work/apt/sources.list";
	Dir::Etc::sourceparts "$work/apt/parts";
	Acquire::Check-Valid-Until "false";
END
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [arch=$arch signed-by=$keyring] ${uri%/} $old main" >apt/sources.list
up=$E2E_CACHE/$old
export APT_CONFIG="$work/apt.conf"
"$E2E_TOP/scripts/real-upstream.sh" "$up" hello >&2 # the index, which says what else there must be
required=$(/usr/lib/apt/apt-helper cat-file "$up/debian/dists/$old/main/binary-$arch"/Packages* |
	awk '/^Package:/ { p = $2 } /^Priority: required/ { print p }' | sort -u)
# shellcheck disable=SC2086 # names
"$E2E_TOP/scripts/real-upstream.sh" "$up" hello apt $required >&2
unset APT_CONFIG
"$mmoci" key new -o site.asc >&2
mkdir -p debs own/DEBIAN own/usr/share/own
printf 'Package: own\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: of the site\n' >own/DEBIAN/control
echo own >own/usr/share/own/data
dpkg-deb --build --root-owner-group own debs >&2
{
	printf 'sign: {key: %s}\ntrust: [%s]\n' "$work/site.asc" "$work/site.pub.asc"
	cat "$up/mmoci.yaml"
} >mmoci.yaml
check "a snapshot of $old is pushed" "$mmoci" push oci:layout:old
serve_start serve oci:layout:old -f mmoci.yaml

by_recipe() {
	curl -sf "$serve/setup/mmdebstrap.sh" -o recipe.sh
	SUITE=$old ROOT=$work/made sh recipe.sh
	root=$work/made
	healthy
	in_root dpkg --compare-versions "$(in_root dpkg-query -Wf '${Version}' apt)" lt 2.3.10
}
check "the recipe for mmdebstrap makes a root of it, whose apt is older than 2.3.10" by_recipe
root=$work/made
in_root apt-get --version | head -n 1 >&2
mount -t proc proc "$root/proc" && echo "$root/proc" >>mounts

# update_and_install: with whatever sources the root has now.
update_and_install() {
	ls "$root/etc/apt/sources.list.d" "$root/etc/apt/keyrings" || :
	in_root apt-get -q update >update.out 2>&1 || { cat update.out; return 1; }
	updated update.out
	in_root apt-get -q -y install "${1:-hello}"
	in_root dpkg-query -W "${1:-hello}" | grep .
	in_root apt-get -q -y purge "${1:-hello}"
}
forget() { rm -rf "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/keyrings "$root"/etc/apt/sources.list "$root"/var/lib/apt/lists/*; }
check "update and install, with what the recipe left in it" update_and_install

# What it is all for.
inline() {
	forget
	{ sed '/^Signed-By:/d' "$1" && echo Signed-By: && sed 's/^$/./; s/^/ /' site.pub.asc; } >"$root/etc/apt/sources.list.d/inline.sources"
	_got=0
	in_root apt-get -q update || _got=$?
	same "exit code" 100 $_got
}
curl -sf "$serve/setup/debian.sources" -o debian.sources
check "with the key inline every command of that apt fails" inline debian.sources

by_hand() {
	forget
	mkdir -p "$root/etc/apt/keyrings"
	cp debian.sources "$root/etc/apt/sources.list.d/mmoci-debian.sources"
	curl -sf "$(sed -n 's/^# Put \(http[^ ]*\) there.*/\1/p' debian.sources)" -o "$root$(sed -n 's/^Signed-By: //p' debian.sources)"
	update_and_install
}
check "update and install, with .sources and the key file that it says is needed" by_hand

pasted() {
	forget
	curl -sf "$serve/" | python3 -c '
import html, re, sys
print(html.unescape(re.search(r"<summary>what writes .*?<pre[^>]*>(.*?)</pre>", sys.stdin.read(), re.S).group(1)))' >paste.sh
	in_root sh -eu <paste.sh
	update_and_install
}
check "update and install, with what the front page has to be pasted" pasted

by_host_sources() {
	forget
	"$mmoci" host sources "$serve" --keyring site.pub.asc --root "$root"
	[ -f "$root/etc/apt/keyrings/mmoci-debian.asc" ]
	update_and_install
	"$mmoci" host undo --root "$root"
	not [ -e "$root/etc/apt/keyrings/mmoci-debian.asc" ]
}
check "update and install, with what host sources writes, which looked at the root's apt" by_host_sources

recipes() {
	forget
	curl -sf "$serve/setup/Dockerfile" -o Dockerfile
	in_root sh -eu -c "$(sed -e '1,/^RUN rm/d' -e 's/^RUN //' -e '/^apt-get/d' Dockerfile)"
	update_and_install
	forget
	# As cloud-init, autoinstall and Ansible would.
	for r in cloud-init autoinstall ansible; do curl -sf "$serve/setup/$r.yaml" -o $r.yaml; done
	python3 - "$root" cloud-init.yaml <<-'END'
		import os, sys, yaml
		for f in yaml.safe_load(open(sys.argv[2]))["write_files"]:
		    os.makedirs(os.path.dirname(sys.argv[1] + f["path"]), exist_ok=True)
		    open(sys.argv[1] + f["path"], "w").write(f["content"])
	END
	update_and_install
	forget
	python3 - "$root" autoinstall.yaml <<-'END'
		import subprocess, sys, yaml
		for c in yaml.safe_load(open(sys.argv[2]))["autoinstall"]["late-commands"]:
		    if not c.startswith("curtin"):
		        subprocess.run(["sh", "-eu", "-c", c.replace("/target/", sys.argv[1] + "/")], check=True)
	END
	update_and_install
	forget
	python3 - "$root" ansible.yaml <<-'END'
		import os, sys, yaml
		yaml.SafeLoader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
		for t in yaml.safe_load(open(sys.argv[2]))[0]["tasks"]:
		    if "ansible.builtin.file" in t: # copy makes no directories
		        os.mkdir(sys.argv[1] + t["ansible.builtin.file"]["path"])
		    if "ansible.builtin.copy" in t:
		        c = t["ansible.builtin.copy"]
		        open(sys.argv[1] + c["dest"], "w").write(c["content"])
	END
	update_and_install
}
check "update and install, with what Dockerfile, cloud-init, autoinstall and Ansible would write" recipes
stop "$pid"

# --- suites whose names say nothing of the release: the same texts below key-files/
cat >own.yaml <<-END
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc]
	archives:
	- {prefix: own, mode: curated, debs: debs}
END
check "the site's own packages are pushed" "$mmoci" push -f own.yaml --date 2026-01-01T00:00:00Z oci:layout:own
serve_start own oci:layout:own -f own.yaml
by_key_files() {
	curl -sf "$serve/setup/own.sources" | grep -q '^ -----BEGIN PGP PUBLIC KEY BLOCK-----'
	forget
	mkdir -p "$root/etc/apt/keyrings"
	curl -sf "$serve/setup/key-files/own.sources" -o "$root/etc/apt/sources.list.d/own.sources"
	curl -sf "$serve/setup/keys/own.asc" -o "$root/etc/apt/keyrings/mmoci-own.asc"
	update_and_install own
}
check "update and install, of an archive whose name says nothing, from /setup/key-files/" by_key_files
