# 83-slow-line.sh: a line of 50 ms round trip and 20 Mbit/s whose connections are reset now and then (scripts/e2e/slowline):
# pull --extract from a registry against apt-get from nginx with the same archives, and push against oras.
#
# By default one pair, of containerd and what it needs and of small .debs: both must come through, and the figures are printed. With
# E2E_LONG=1, on a machine that does nothing else: docker.io with what it needs, all of its .debs, 7 pairs in turn, and the ratios have bars.
# Alone: it measures.
# A program that gives up is started again, as its user would, until it is done.
#
#	MMOCI_SEED=N  of the resets
#
# Of few bytes push takes longer than oras, because it asks before and after: what the tag names, what an interrupted push
# left there, whether the tag still names it. That is a second, whatever is pushed.
#
# What the line itself needs for the bytes is the floor of every figure: it is printed beside.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

seed=${MMOCI_SEED:-$$}
pairs=1 want=containerd largest=300k patience=40
[ -z "${E2E_LONG:-}" ] || { pairs=7 want=docker.io largest=999999k patience=240; }
echo "   seed $seed; 50 ms, 20 Mbit/s"

site
(cd "$E2E_TOP" && CGO_ENABLED=0 "${GO:-go}" build -o "$work/slowline" ./scripts/e2e/slowline)
registry_start v3 registry "$work/storage"
"$mmoci" copy -q "oci:$shared/layout:docker" "$registry/site/mirror:docker" >&2
nginx_start upstream "$up"

# line SEED BYTES TARGET: $line is the address at which the target is far away, $pid the line's; BYTES is the mean between resets, 0: none.
line() {
	: >line.events
	start line ./slowline -seed "$1" -reset "$2" -log "$work/line.events" "$3"
	eventually grep -q : line.log
	line=$(cat line.log)
}
# timed COMMAND..: $took, in ms; again until it ends well, or for $patience s: then $done is no, and it would have taken longer.
timed() {
	_began=$(date +%s%N)
	tries=1 done=yes
	until "$@" >>timed.log 2>&1; do
		tries=$((tries + 1))
		[ $((($(date +%s%N) - _began) / 1000000000)) -lt $patience ] || { done=no && break; }
	done
	took=$((($(date +%s%N) - _began) / 1000000))
	[ $done = yes ] || tries="$tries tries and not done"
}
# resets and floor: how many there were, and what the line needs for the bytes of one direction (4: up, 5: down), in ms.
resets() { grep -c ' reset ' line.events || :; }
carried() {
	stop "$pid"
	awk -v f="$1" '$2 == "closed" { s += $f } END { printf "%d", s / 2500 }' line.events
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%.3f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# --- round trips

# What lies before the first .deb's request: the line notes of each request how many round trips do, handshakes among them.
trips() {
	line "$seed" 0 "$registry"
	"$mmoci" pull -q "$line/site/mirror:docker" --keyring "$sitekey" --extract tini --host-status none -o tini
	stop "$pid"
	for d in tini/*.deb; do sha256sum <"$d" | cut -d' ' -f1; done >debs.sums
	n=$(awk 'NR == FNR { deb[$1]; next } $2 == "request" { d = $6; sub(/.*sha256:/, "", d); if (d in deb) { print $4 - 1; exit } }' debs.sums line.events)
	echo "   $n round trips before the first .deb is asked for; bar 8" >>figures
	[ "$n" -le 8 ]
}
: >figures
check "round trips before the first .deb's first byte is asked for: at most 8" trips
cat figures

# --- pull --extract against apt

ours() { "$mmoci" pull -q "$line/site/mirror:docker" --keyring "$sitekey" --extract "$want" --host-status none -o debs; }
# apt-get update says that it went well when nothing came, unless it is told.
apts() {
	own timeout $patience apt-get -q -o APT::Update::Error-Mode=any update &&
		own timeout $patience apt-get -q -y --no-install-recommends --download-only install "$want"
}
pull_ours() {
	line "$1" 10000000 "$registry"
	rm -rf debs
	timed ours
	same "done" yes $done
	our=$took
	echo "     mmoci $took ms, tries: $tries, $(resets) resets, floor $(carried 5) ms" >>figures
}
pull_apt() {
	line "$1" 10000000 "${nginx#http://}"
	rm -rf apt
	apt_own apt
	sed "s,file:$up,http://$line," "$up/.apt/sources.list" >apt/sources/far.list
	timed apts
	their=$took
	echo "     apt-get $took ms, tries: $tries, $(resets) resets, floor $(carried 5) ms" >>figures
}
within() { # BAR: the median of the ratios, where figures count
	[ -z "${E2E_LONG:-}" ] || awk -v m="$(median ratios)" -v bar="$1" 'BEGIN { exit !(m <= bar) }'
}
in_turn() { # OURS THEIRS
	: >ratios
	i=1
	while [ $i -le $pairs ]; do
		if [ $((i % 2)) = 1 ]; then
			"$1" $((seed + i))
			"$2" $((seed + i))
		else
			"$2" $((seed + i))
			"$1" $((seed + i))
		fi
		awk -v a="$our" -v b="$their" 'BEGIN { printf "%.3f\n", a / b }' >>ratios
		i=$((i + 1))
	done
}
# What apt-get chooses, read from nearby: on the line it may give up.
chosen() {
	apt_own near
	sed "s,file:$up,$nginx," "$up/.apt/sources.list" >near/sources/near.list
	apts
}
pulls() {
	chosen
	packages near/archives >apts.txt
	in_turn pull_ours pull_apt
	packages debs >ours.txt
	cmp ours.txt apts.txt
	echo "   pull --extract $want, $(wc -l <ours.txt) packages: $(median ratios) of apt-get's time ($(tr '\n' ' ' <ratios)); bar 0.7" >>figures
	within 0.7
}
: >figures
check "pull --extract $want comes through, the same packages as by apt-get${E2E_LONG:+, in at most 0.7 of its time}" pulls
cat figures

# --- apt's method against apt's own http, the same bytes

"$mmoci" pull -q "oci:$shared/layout:docker" --keyring "$sitekey" -o tree >&2
nginx_start tree "$work/tree"
tree=${nginx#http://}
mkdir methods
for m in /usr/lib/apt/methods/*; do ln -s "$m" methods/; done
ln -sf "$mmoci" methods/oci+http
whole=$want
[ -n "${E2E_LONG:-}" ] || want=runc
# by NAME BASE: a new apt whose sources are below BASE.
by() {
	rm -rf "$1"
	apt_own "$1"
	echo "Dir::Bin::methods \"$work/methods\";" >>"$apt_conf"
	for p in debian debian-security; do
		for s in tree/"$p"/dists/*; do
			[ ! -d "$s" ] || echo "deb [signed-by=$sitekey] $2/$p ${s##*/} main"
		done
	done >"$1/sources/far.list"
}
by_method() {
	line "$1" 10000000 "$registry"
	by method "oci+http://$line/site/mirror:docker"
	timed apts
	same "done" yes $done
	packages method/archives >method.txt
	our=$took
	echo "     apt by the method $took ms, tries: $tries, $(resets) resets, floor $(carried 5) ms" >>figures
}
by_http() {
	line "$1" 10000000 "$tree"
	by http "http://$line"
	timed apts
	[ $done = no ] || { packages http/archives | cmp - method.txt; }
	their=$took
	echo "     apt by http $took ms, tries: $tries, $(resets) resets, floor $(carried 5) ms" >>figures
}
methods() {
	in_turn by_method by_http
	echo "   update and install $want by apt's method: $(median ratios) of the time by http ($(tr '\n' ' ' <ratios)); bar 0.8" >>figures
	within 0.8
}
: >figures
by method "oci+http://$registry/site/mirror:docker"
apts >&2
packages method/archives >method.txt
check "apt's method comes through on the line, the same packages as by http${E2E_LONG:+, in at most 0.8 of its time}" methods
cat figures
want=$whole

# --- push against oras

mkdir pool
cut -f6 "$up/closure.tsv" | while read -r f; do find "$up/$f" -size "-$largest" -exec cp {} pool/ \; ; done
{ sign_part && printf 'archives: [{prefix: own, mode: curated, debs: %s}]\n' "$work/pool"; } >own.yaml
# An empty registry for each.
again=0
empty() {
	again=$((again + 1))
	registry_start "empty$again" registry "$work/empty$again.d"
	emptied=$pid
	line "$1" 40000000 "$registry"
}
full() {
	stop "$emptied"
	rm -rf "empty$again.d"
}
push() { "$mmoci" push -q -f own.yaml --date 2026-01-01 "$line/site/mirror:own"; }
oras_push() { (cd pool && oras push --plain-http --concurrency 8 "$line/site/mirror:own" $(printf '%s:application/vnd.debian.binary-package ' *.deb)); }
push_ours() {
	empty "$1"
	timed push
	same "done" yes $done
	our=$took
	echo "     mmoci $took ms, tries: $tries, $(resets) resets, floor $(carried 4) ms" >>figures
	full
}
push_oras() {
	empty "$1"
	timed oras_push
	their=$took
	echo "     oras $took ms, tries: $tries, $(resets) resets, floor $(carried 4) ms" >>figures
	full
}
pushes() {
	in_turn push_ours push_oras
	echo "   push of $(find pool -type f | wc -l) .debs, $(du -sb pool | cut -f1) bytes: $(median ratios) of oras' time ($(tr '\n' ' ' <ratios)); bar 1.0" >>figures
	within 1.0
}
: >figures
check "push of the .debs comes through${E2E_LONG:+, in at most the time of oras, 8 at once as well}" pushes
cat figures
