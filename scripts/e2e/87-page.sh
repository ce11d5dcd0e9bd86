# 87-page.sh: the server's page in a headless Chromium: what people do there, and what strangers' names cannot.
#
# KEEP_SHOTS, if set, is a directory that gets the screenshots.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
(cd "$E2E_TOP" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false "${GO:-go}" build -trimpath -o "$work/browse.bin" ./scripts/browse)

# browse: what standard input says, in a fresh profile.
browse() {
	rm -rf profile
	./browse.bin "$work/profile"
}

# A tag that moves from real packages to the same and more: hello and a base system.
"$mmoci" copy "oci:$shared/layout:docker" oci:layout:demo >&2
cat >rules.yaml <<-'END'
	rules:
	- {name: no-old-libc, deny: "libc6*", version: "<< 3", reason: "use 3 or later"}
END
serve_start serve oci:layout:demo -f "$shared/site.yaml" --policy rules.yaml --follow 1s
first=$(curl -sf "$serve/readyz")
"$mmoci" copy --redate -f "$shared/site.yaml" "oci:$shared/layout:site" oci:layout:demo >&2 # both are of one date
eventually sh -c "[ \"\$(curl -sf '$serve/readyz')\" != '$first' ]"

# --- what people do

search() {
	browse >searched.txt <<-END
		size 1280 800
		open $serve/
		click input[name=q]
		type docker.io
		enter
		true document.querySelector("h1").innerText.includes("“docker.io”")
		true [...document.querySelectorAll("td.name a")].some(e => e.innerText == "docker.io")
		follow td.name a
		true document.querySelector("h1").innerText.startsWith("docker.io ")
		print document.querySelector("dd a[href\$='.deb']").href
		follow dd a[href*="?source="]
		true document.querySelector("h1").innerText == "debian: 1 package of source docker.io"
		follow td.name a
		follow dd a[href*="?section="]
		true [...document.querySelectorAll("td.name a")].some(e => e.innerText == "docker.io")
		open $serve/
		click input[name=q]
		type no-such-package
		enter
		true document.querySelector("h1").innerText.startsWith("0 packages")
		true document.querySelectorAll("td").length == 0
	END
	curl -sf "$(jq -r . searched.txt)" -o found.deb
	same Package docker.io "$(dpkg-deb -f found.deb Package)"
}
check "a search finds a package and leads to its page, and that to its .deb" search

setup() {
	browse >setup.txt <<-END
		open $serve/snapshot/
		follow nav a[href\$="setup/"]
		true document.querySelector("h1").innerText == "Set up a host"
		print [...document.querySelectorAll("main a[href*=setup]")].map(a => a.href)
		print document.querySelector("section.archive:has(#archive-debian) pre.command").innerText
		true [...document.querySelectorAll("tbody tr")].every(r => r.cells[1].innerText.length > 20 && r.cells[2].innerText.length > 10)
	END
	head -n 1 setup.txt | jq -r '.[]' | tee links.txt
	[ "$(wc -l <links.txt)" -gt 10 ]
	while read -r u; do curl -sf "$u" -o text && [ -s text ]; done <links.txt
	# Every text that programs are told is there for people, too, but keys, which are in the texts.
	curl -sf "$serve/setup/" | grep -v -e /keys/ -e /site.asc | sort >told.txt
	sort links.txt | comm -13 - told.txt >untold.txt
	same "texts that the page lacks" "" "$(cat untold.txt)"
	# What undoes it takes away the one file that it says was written.
	same "undo" "rm -f /etc/apt/sources.list.d/mmoci-debian.sources && apt-get update" "$(sed -n 2p setup.txt | jq -r .)"
}
check "setup leads to what hosts are told, what it changes and how to undo it" setup

copied() {
	browse >copied.txt <<-END
		open $serve/
		click section.archive:has(a[href="./debian/"]) details summary
		click section.archive:has(a[href="./debian/"]) details pre
		copy
		print navigator.clipboard.readText()
		print [...document.querySelectorAll("pre.fingerprint")].map(e => e.innerText)
		true !document.body.innerText.includes("curl ")
	END
	# What a host is told asks the server for nothing, and writes no file that Debian has.
	head -n 1 copied.txt | jq -r . >line.txt
	grep -qF "cat >/etc/apt/sources.list.d/mmoci-debian.sources <<" line.txt
	not grep -F /etc/apt/sources.list.d/debian.sources line.txt
	same "fingerprint to compare" "$("$mmoci" key show "$sitekey" | cut -d' ' -f1)" "$(tail -n 1 copied.txt | jq -r '.[]')"
	# What was copied is what apt takes.
	apt_own apt
	sed "s,/etc/apt/sources.list.d/,$work/apt/sources/," line.txt >line.sh
	sh -eu line.sh
	curl -sf "$serve/setup/debian.sources" | diff - apt/sources/mmoci-debian.sources
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	own apt-get -q --print-uris download hello
}
check "one click selects what a host is told, key and sources in it, and what is copied is what apt takes" copied

compare() {
	browse >changes.txt <<-END
		open $serve/
		follow nav a[href\$="changes"]
		true document.querySelectorAll("tbody tr").length > 1
		print [...document.querySelectorAll("tbody tr")].filter(r => r.cells.length > 1 && r.cells[0].innerText == "hello").map(r => r.cells[1].innerText + ">" + r.cells[2].innerText)
	END
	jq -e 'length == 1 and (.[0] | test("^–>[0-9]"))' changes.txt
}
check "compare shows what came since the snapshot before" compare

current=$(curl -sf "$serve/readyz" | sed -n 's/^ready: .* //p')

# A newcomer types a name. From the page that this leads to, each question is answered in two clicks at most; what is printed is typed as printed.
newcomer() {
	browse >newcomer.txt <<-END
		size 1280 900
		open $serve/
		click input[name=q]
		type hello
		enter
		follow td.name a
		true document.querySelector("#why + ol").innerText.includes("asked for")
		true document.querySelector("#install ~ pre.command").innerText.startsWith("apt-get install hello=")
		print document.querySelector("#install ~ pre.command").innerText
		print [...document.querySelectorAll("#install ~ pre.command")].at(-1).innerText
		print [...document.querySelectorAll(".chain > li")].map(e => e.className + " " + (e.querySelector("pre") || {innerText: ""}).innerText)
		follow a[href*="show=changelog"]
		true document.querySelector("#changelog") != null
		true document.querySelector("#changelog ~ p, #changelog ~ pre").innerText.length > 10
		open $serve/
		click input[name=q]
		type hello
		enter
		follow td.name a
		follow a[href*="show=history"]
		true document.querySelector("#history ~ .scroll tbody").innerText.includes("first seen")
		open $serve/
		follow nav a[href\$="changes"]
		true document.querySelector("tbody tr td.name a[href*=package]") != null
	END
	# Why it is here and how to install it: typing a name is one click. Proved by hand:
	sed -n 3p newcomer.txt | jq -r '.[]' | tee chain.txt >&2
	same "steps that this server verified, all but the bytes of the .deb" 6 "$(grep -c '^good ' chain.txt)"
	sed -n 's/^[a-z]* //p' chain.txt | grep -v -e '^mmoci ' -e '^crane ' -e '^$' >commands.sh
	rm -rf by-hand && mkdir by-hand gnupg-by-hand
	(cd by-hand && GNUPGHOME="$work/gnupg-by-hand" sh -eu "$work/commands.sh")
	same "the .deb that was proved" hello "$(dpkg-deb -f by-hand/hello.deb Package)"
	# Installed by the line as it is printed, by the apt that copied above set up, in a root that has what hello needs of this machine.
	line=$(sed -n 1p newcomer.txt | jq -r .)
	case $line in "apt-get install hello="*) ;; *) false ;; esac
	root=$work/root
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/tmp"
	dpkg-query -s libc6 >"$root/var/lib/dpkg/status"
	sed -i '/^Depends: /d; /^Recommends: /d' "$root/var/lib/dpkg/status"
	apt_conf=$work/apt.conf
	# shellcheck disable=SC2086 # its words
	own $line -q -y -o "Dir::State::status=$root/var/lib/dpkg/status" -o "DPkg::Options::=--root=$root" -o DPkg::Options::=--force-unsafe-io
	same "what the program that was installed says" "Hello, world!" "$(LC_ALL=C "$root/usr/bin/hello")"
	same "the version that is installed" "$line" "apt-get install $(dpkg-query --root="$root" -W -f '${Package}=${Version}' hello)"
	# And kept at this day by the other line, as it is printed but for the root, where apt finds the same at a place that stays.
	sed -n 2p newcomer.txt | jq -r . | sed "s,/etc/apt/sources.list.d/,$work/apt/sources/," >pin.sh
	sh -eu pin.sh
	own apt-get -q update >update.txt 2>&1
	updated update.txt
	own apt-get -q --print-uris download hello | tee pinned.txt
	grep -qF "'$serve/snapshot/$current/debian/" pinned.txt
	curl -sf "$serve/setup/debian.sources" -o apt/sources/mmoci-debian.sources # as it was
}
check "a newcomer types a name, and in two clicks at most learns why it is there and what changed in it, proves it by hand with the printed commands, and installs it" newcomer

# The pages of a site, to be looked at one by one.
looked() {
	for p in "desktop 1000 800 light" "phone 390 760 light" "dark 1000 800 dark"; do
		# shellcheck disable=SC2086 # words
		set -- $p
		{
			printf 'scheme %s\nsize %s %s\n' "$4" "$2" "$3"
			for page in front=/ search=/?q=lib changes=/mmoci/changes package=/debian/package/libc6?show=history proof=/debian/package/hello#proof setup=/setup/ \
				snapshots=/snapshot/ archive=/debian/package/ none=/debian/package/helo all=/?q= tree=/upstream/debian/pool/ pool=/debian/pool/; do
				case $1-$page in dark-none=* | dark-all=* | dark-tree=* | dark-pool=*) continue ;; esac # as wide as in light
				printf 'open %s\ntrue document.documentElement.scrollWidth <= %s\n' "$serve${page#*=}" "$2"
				case $page in none=* | all=* | tree=* | pool=*) ;; *) echo "shot $work/$1-${page%%=*}.png" ;; esac
			done
			[ "$1" = dark ] || cat <<-END
				open $serve/?q=lib
				true [...document.querySelectorAll("tr")].some(r => r.innerText.includes("libc6") && r.innerText.includes("denied by rule no-old-libc: use 3 or later"))
				open $serve/snapshot/
				true document.querySelector("tbody").innerText.includes("current")
				true document.querySelector("tbody").innerText.includes("demo")
				open $serve/?q=
				true document.querySelectorAll("tbody tr").length == 50 && document.querySelector("a[rel=next]") != null
				open $serve/debian/package/helo
				true document.querySelector("main").innerText.includes("Did you mean") && document.querySelector("main a[href*=hello]") != null
				open $serve/mmoci/changes
				true document.querySelector("tbody tr:nth-child(2)").cells[2].getBoundingClientRect().right <= $2
			END
			cat <<-END
				open $serve/debian/package/libc6
				follow a[href\$=".deb"]
				true document.querySelector("h1").innerText == "403 Forbidden" && ["no-old-libc", "mmoci site key"].every(s => document.querySelector("main").innerText.includes(s))
				true document.documentElement.scrollWidth <= $2
				shot $work/$1-denied.png
			END
		} >looked.txt
		browse <looked.txt
	done
	[ -z "${KEEP_SHOTS:-}" ] || cp ./*.png "$KEEP_SHOTS"
}
check "at the widths of a desktop and of a phone, light and dark, nothing sticks out" looked

accessible() {
	for p in "light 1200 900" "dark 1200 900" "light 390 844"; do
		# shellcheck disable=SC2086 # words
		set -- $p
		{
			echo "scheme $1"
			echo "size $2 $3"
			for page in / "/debian/package/libc6?show=history" "/debian/package/hello?show=changelog" /debian/package/ "/?q=lib" "/?q=no-such" /snapshot/ /mmoci/changes /debian/ /setup/ \
				/debian/package/helo "/snapshot/$current/" "/snapshot/$current/setup/" "/snapshot/$current/debian/package/hello"; do
				printf 'open %s\naxe %s\n' "$serve$page" "$E2E_TOP/.tools/axe.min.js"
				[ "$1" = dark ] || echo tabs # the order of what can be reached is no matter of colours
			done
		} >accessible.txt
		browse <accessible.txt
	done
}
check "axe-core finds no violation of level A and AA, and Tab reaches every link and field" accessible

# --- what strangers' names cannot

./browse.bin hostile "$work/hostile"
cat >policy.yaml <<-'END'
	rules:
	- {name: "<u>old</u>", deny: docker-ce, version: "<< 28", reason: "<script>alert(9)</script> & \"old\""}
END
serve_start hostile oci:hostile:latest --policy policy.yaml
id=$(curl -sf "$serve/readyz" | sed 's/.* //')
harmless() {
	elements='"a body br button code dd details div dl dt footer form h1 h2 h3 head header html input label li link main meta nav ol option p pre section select span strong summary table tbody td th thead title tr ul"'
	for page in "/" "/?q=evil" "/?q=img" "/?q=docker" "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E" "/mmoci/changes" "/docker/pool/" \
		"/docker/pool/1/" "/snapshot/" "/snapshot/$id/" "/docker/dists/bookworm/" "/setup/" "/setup/policy.pref" "/docker/dists/bookworm/Release" \
		"/docker/dists/bookworm/main/binary-amd64/Packages" "/docker/package/" "/docker/package/docker-ce" \
		"/docker/package/%3Cimg%20src=x%20onerror=alert(1)%3E?show=history" "/docker/package/evil%7B%7B.%7D%7D?show=changelog" \
		"/docker/package/hostile-fields" "/docker/package/hostile-fields?show=history" "/docker/package/hostile-fields?show=changelog" "/?q=hostile-fields" "/?q=alert(6)" \
		"/docker/package/?letter=h" "/docker/package/?source=%3Cscript%3Ealert(1)%3C/script%3E" "/snapshot/$id/setup/" "/snapshot/$id/docker/package/hostile-fields" \
		"/docker/package/%3Cscript%3Ealert(1)%3C%2Fscript%3E" "/none/%3Cscript%3Ealert(1)%3C/script%3E" "/mmoci/changes?from=%3Cscript%3Ealert(1)%3C/script%3E&to=x"; do
		cat <<-END
			open $serve$page
			true [...document.querySelectorAll("*")].every(e => $elements.split(" ").includes(e.localName))
			true [...document.querySelectorAll("*")].every(e => [...e.attributes].every(a => !a.name.startsWith("on") && (a.name != "style" || document.contentType == "text/plain")))
			true [...document.querySelectorAll("[href], [action]")].every(e => (e.href || e.action).startsWith("$serve/"))
			true document.getElementById("injected") == null
			true !/[\u202a-\u202e\u2066-\u2069]/.test(document.body.innerText) || document.contentType == "text/plain"
			true document.scripts.length == 0 && document.images.length == 0
		END
	done >commands.txt
	# They are there, as words.
	cat >>commands.txt <<-END
		size 1280 800
		open $serve/?q=evil
		true document.querySelectorAll("tbody tr").length == 4
		true document.body.innerText.includes("<script>alert(2)</script>")
		shot $work/hostile.png
		open $serve/?q=docker
		true document.body.innerText.includes('<script>alert(9)</script> & "old"')
		open $serve/docker/package/hostile-fields
		true ["Section", "Maintainer", "Homepage", "Depends", "Tag", "X-Long"].every(f => [...document.querySelectorAll("th")].some(e => e.textContent == f))
		true document.querySelector("dl").innerText.includes("javascript:alert(10)")
		true document.body.textContent.length > 1000000 && document.body.textContent.includes("the end of it")
		true document.body.textContent.split("<script>alert(6)</script>").length > 8
	END
	browse <commands.txt
	[ -z "${KEEP_SHOTS:-}" ] || cp hostile.png "$KEEP_SHOTS"
}
check "hostile names, versions, reasons, paths and descriptions are words: no element, no dialog, no violation, no other host" harmless

# The same names in a page that does not care: the browser does tell.
careless() {
	mkdir -p careless
	curl -sf "$serve/?q=evil" | sed 's/&lt;/</g; s/&gt;/>/g; s/&#34;/"/g' >careless/index.html
	nginx_start careless-nginx "$work/careless"
	refused 1 'did more than show text' browse <<-END
		open $nginx/index.html
	END
	# Under our policy its script does not run, and that is told too.
	sed -i 's/root [^;]*;/& add_header Content-Security-Policy "default-src '"'none'"'";/' careless-nginx.conf
	stop "$pid"
	start careless-nginx nginx -e "$work/careless-nginx.error" -c "$work/careless-nginx.conf"
	eventually curl -sf -o careless.d "$nginx/index.html"
	refused 1 'ContentSecurityPolicy' browse <<-END
		open $nginx/index.html
	END
	stop "$pid"
}
check "the same without escaping is noticed" careless
