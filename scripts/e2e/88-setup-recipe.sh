# 88-setup-recipe.sh: a minimal system made by the recipe that the server itself hands out.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
serve_start serve "oci:$shared/layout:site" -f "$shared/site.yaml"

by_mmdebstrap() {
	# The recipe of the server itself.
	curl -sf "$serve/setup/mmdebstrap.sh" -o recipe.sh
	ROOT=$work/mm SUITE=bookworm sh recipe.sh
	root=$work/mm
	healthy
	in_root apt-get --version | head -n 1
	not grep -v '"status":\(200\|304\|404\)' serve.access
}
check "mmdebstrap, by the recipe of /setup/" by_mmdebstrap

# The others are read by parsers of other hands.
parsed() {
	mkdir -p recipes
	for r in cloud-init.yaml autoinstall.yaml ansible.yaml maas.sh mmdebstrap.sh Dockerfile promenade.yaml divingbell.yaml armada.yaml debian.sources; do curl -sf "$serve/setup/$r" -o "recipes/$r"; done
	sh -n recipes/maas.sh
	sh -n recipes/mmdebstrap.sh
	for r in recipes/*.* recipes/Dockerfile; do
		not grep -E 'curl|get_url|^ADD|/setup/|sources.list.d/debian.sources$' "$r"
		[ "$r" = recipes/debian.sources ] || grep -qx "# $("$mmoci" key show "$sitekey" | cut -d' ' -f1)" "$r"
	done
	python3 - "$serve" recipes/debian.sources <<-'END'
		import subprocess, sys, yaml
		url, sources = sys.argv[1], open(sys.argv[2]).read()
		yaml.SafeLoader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node)) # Ansible's: no template
		def written(script, path):
		    subprocess.run(["sh", "-eu", "-c", script.replace(path, "written.sources")], check=True)
		    assert open("written.sources").read() == sources, script
		load = lambda name: yaml.safe_load(open("recipes/" + name))
		cloud = {f["path"]: f["content"] for f in load("cloud-init.yaml")["write_files"]}
		host = "/etc/apt/sources.list.d/mmoci-debian.sources"
		assert cloud[host] == sources, cloud
		install = load("autoinstall.yaml")["autoinstall"]
		assert install["version"] == 1, install
		for c in install["late-commands"]:
		    subprocess.run(["sh", "-n", "-c", c], check=True)
		written(next(c for c in install["late-commands"] if c.endswith(">/target" + host)), "/target" + host)
		play, = load("ansible.yaml")
		copies = {t["ansible.builtin.copy"]["dest"]: t["ansible.builtin.copy"]["content"] for t in play["tasks"] if "ansible.builtin.copy" in t}
		assert copies[host] == sources and play["become"] is True, play
		lines = open("recipes/Dockerfile").read().splitlines()
		assert {l.split()[0] for l in lines if l and l[0] not in "# "} == {"ARG", "FROM", "RUN"}, lines
		runs = open("recipes/Dockerfile").read().replace("\\\n", "").split("\nRUN ")
		written(next(r.split("\n")[0] for r in runs if host in r), host)
	END
}
check "cloud-init, autoinstall, Ansible and Dockerfile parse, have sources and key in them, and ask for nothing" parsed

# cloud-init's own schema. Its packages are unpacked and not installed: installed, it would configure this machine at its next start.
cloud_init() {
	debs=$E2E_CACHE/cloud-init
	mkdir -p "$debs" cloud-init
	needed=$(apt-get install -s --no-install-recommends cloud-init | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
	# shellcheck disable=SC2086 # a list of names
	[ -z "$needed" ] || (cd "$debs" && apt-get -q download $needed)
	for d in "$debs"/*.deb; do dpkg-deb -x "$d" cloud-init; done
	valid() { PYTHONPATH=$work/cloud-init/usr/lib/python3/dist-packages python3 -m cloudinit.cmd.main schema --config-file "$1"; }
	valid recipes/cloud-init.yaml
	valid recipes/autoinstall.yaml
	sed 's/permissions:/permission:/' recipes/cloud-init.yaml >wrong.yaml
	not valid wrong.yaml
}
check "cloud-init finds its recipes valid, and another not" cloud_init

# What MAAS would be told: a program of that name writes down its arguments.
maas_told() {
	mkdir -p path
	printf '#!/bin/sh\nprintf "%%s\\n" "$@" >>"%s/told"\n' "$work" >path/maas && chmod 755 path/maas
	PROFILE=admin PATH=$work/path:$PATH sh recipes/maas.sh
	grep -x "url=$serve/debian" told
	grep -x 'distributions=.*bookworm.*' told
	grep -x "arches=$arch" told
	grep -q '^key=-----BEGIN PGP PUBLIC KEY BLOCK-----' told
}
check "the recipe for MAAS gives it each archive with its key" maas_told

# What Promenade and Divingbell make of their templates, typed as their scripts type it (up.sh; _apt.sh.tpl): a list of
# one-line sources, a key for all of them, and apt-get install NAME=VERSION.
airship() {
	python3 - <<-'END'
		import yaml
		def put(name, lines, keys, packages):
		    open(name + ".list", "w").write("".join(l + "\n" for l in lines))
		    open(name + ".asc", "w").write(keys[0])
		    open(name + ".packages", "w").write("".join(p + "\n" for p in packages))
		common = yaml.safe_load(open("recipes/promenade.yaml"))["data"]["packages"]["common"]
		put("promenade", common["repositories"], common["keys"], common["required"].values())
		apt = yaml.safe_load(open("recipes/divingbell.yaml"))["conf"]["apt"]
		put("divingbell", ["deb %s %s %s" % (r["url"], d, " ".join(r["components"])) for r in apt["repositories"] for d in r["distributions"]],
		    [r["gpgkey"] for r in apt["repositories"]], [p["name"] + "=" + p["version"] for p in apt["packages"]])
	END
	grep '^docker.io=' promenade.packages
	for who in promenade divingbell; do
		apt_own $who
		mkdir -p $who.keys
		cp $who.asc $who.keys/site.asc
		cp $who.list $who/sources/site.list
		echo "Dir::Etc::trustedparts \"$work/$who.keys\"; Dir::Etc::trusted \"/dev/null\";" >>"$apt_conf"
		own apt-get -q update 2>&1 | tee $who.err
		updated $who.err
		# shellcheck disable=SC2046 # a list of packages
		own apt-get -q -s install --no-install-recommends $(cat $who.packages) >$who.out
	done
	# Each package of the snapshot is listed, once, and each of them would be installed.
	"$mmoci" ls "oci:$shared/layout:site" | awk '{ print $1 }' | sort -u >names
	sed 's/=.*//' divingbell.packages | sort | cmp - names
	same "installed" "$(sort divingbell.packages)" "$(sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p' divingbell.out | sort)"
}
check "apt takes what the templates for Promenade and Divingbell say, and would install each package in its version" airship
