# 40-apt-follow.sh: a stock apt behind a tag that moves.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
day=2026-01-02T03:04:

# grow DATE NUMBER: the tag of the layout names a snapshot of the first NUMBER of the files, dated DATE.
find "$up/debian/pool" -name '*.deb' -size -100k | LC_ALL=C sort >small.txt
# The first one depends on nothing, so that it can be installed from here alone.
while read -r f; do [ -n "$(dpkg-deb -f "$f" Depends Pre-Depends)" ] || { echo "$f"; break; }; done <small.txt >files.txt
grep -vxFf files.txt small.txt | head -n 39 >rest.txt
cat rest.txt >>files.txt
mkdir -p debs
{
	sign_part
	printf 'archives:\n- prefix: own\n  mode: curated\n  debs: %s\n' "$work/debs"
} >own.yaml
grow() {
	head -n "$2" files.txt | while read -r f; do ln -f "$f" debs/ 2>/dev/null || cp "$f" debs/; done
	"$mmoci" push -q -f own.yaml --date "$1" "oci:$work/moving:latest" >>moves.txt
}
package() { dpkg-deb -f "$(sed -n "$1p" "$work/files.txt")" Package; }

grow ${day}05Z 3
serve_start serve "oci:$work/moving:latest" -f own.yaml --follow 1s
apt_own apt
curl -sf "$serve/setup/own.sources" >apt/sources/own.sources
update() { own apt-get -q update >"$1" 2>&1 && updated "$1"; }
listed() { own apt-cache show "$1" | grep -q "^Package: $1\$"; }

first() {
	update first.txt
	listed "$(package 3)"
	not listed "$(package 4)" 2>/dev/null
}
check "apt sees the first snapshot" first

hits() {
	update again.txt
	grep -q '^Hit:' again.txt
	not grep -q '^Get:' again.txt
}
check "an update of what did not change is all Hit" hits

next_date() {
	grow auto 4
	sleep 1.5
	update second.txt
	listed "$(package 4)"
	same Dates 1 "$(curl -sf "$serve/own/dists/own/InRelease" | grep -c "^Date: Fri, 02 Jan 2026 03:04:06")"
}
check "a package added under the next date is seen at the next update" next_date

# Of a tag of ten days, apt asks by date: each day's InRelease comes once, and afterwards apt has it already.
ten_days() {
	rm -rf ten
	apt_own ten
	mkdir -p days
	printf '%s\narchives:\n- {prefix: own, mode: curated, debs: %s}\n' "$(sign_part)" "$work/days" >days.yaml
	for d in 1 2 3 4 5 6 7 8 9 10; do
		cp "$(sed -n "${d}p" files.txt)" days/
		"$mmoci" push -q -f days.yaml --date "2026-02-$((d + 10))T00:00:00Z" "oci:$work/ten-days:latest" >/dev/null
		if [ $d = 1 ]; then
			serve_start ten-serve "oci:$work/ten-days:latest" -f days.yaml --follow 200ms
			curl -sf "$serve/setup/own.sources" >ten/sources/own.sources
		fi
		sleep 0.6
		update "ten.$d.txt"
		same "packages on day $d" "$d" "$(own apt-cache pkgnames | wc -l)"
		same "Last-Modified on day $d" "$(date -u -d "2026-02-$((d + 10))" '+%a, %d %b %Y 00:00:00 GMT')" \
			"$(curl -sI "$serve/own/dists/own/InRelease" | tr -d '\r' | sed -n 's/^Last-Modified: //p')"
		update "ten.$d.again.txt"
		grep -q '^Hit:' "ten.$d.again.txt"
		not grep '^Get:' "ten.$d.again.txt"
	done
	stop "$pid"
	grep '"path":"/own/dists/own/InRelease"' ten-serve.access | grep '"method":"GET"' | grep -o '"status":[0-9]*' | sort | uniq -c | tr -s ' ' >statuses.txt
	cat statuses.txt
	same statuses '10"status":200,10"status":304,' "$(tr -d ' ' <statuses.txt | tr '\n' ,)"
}
first_serve=$serve first_apt=$apt_conf
check "ten days: apt has each day's InRelease once, and is told 304 afterwards" ten_days
serve=$first_serve apt_conf=$first_apt

# A download that broke off in apt's own cache goes on where it stopped.
resume() {
	p=$(package 1)
	own apt-get -q -y download "$p"
	deb=$(echo "$p"_*.deb)
	size=$(wc -c <"$deb")
	partial=$work/apt/archives/partial/$deb
	head -c $((size / 2)) "$deb" >"$partial"
	touch -r "$deb" "$partial"
	own apt-get -q -y --download-only --no-install-recommends install "$p" >resume.txt 2>&1 || { cat resume.txt; return 1; }
	cmp "$deb" "$work/apt/archives/$deb"
	sleep 0.2
	grep "$p" serve.access
	grep '"status":206' serve.access | grep -q "$p"
}
check "apt resumes a broken download by Range" resume

# --- a tag that moves all the time

mover() {
	n=4
	while [ $n -lt 40 ]; do
		n=$((n + 1))
		grow "${day}$((n + 6))Z" $n || exit 1
		sleep 0.7
	done
}
mover >mover.log 2>&1 &
moving=$!
echo $moving >>pids

# client NAME: 15 updates and downloads, while the tag moves.
client() {
	apt_own "$1"
	cp apt/sources/own.sources "$1/sources/"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
		update "$1.$i.txt" || return 1
		(cd "$1" && own apt-get -q -y download "$(package $((i % 4 + 1)))" >download.txt 2>&1) || { cat "$1/download.txt"; return 1; }
		own apt-cache pkgnames | wc -l
		sleep 0.3
	done
}
two_clients() {
	client left >left.log 2>&1 &
	left=$!
	client right >right.log 2>&1 || { cat right.log; return 1; }
	wait $left || { cat left.log; return 1; }
	sort -n left.log right.log | uniq -c | tail -n 3
	[ "$(grep -h '^[0-9]*$' left.log | sort -un | wc -l)" -gt 3 ] || { echo "the tag did not move"; return 1; }
	not grep '"status":404' serve.access
}
check "30 updates while the tag moves: no 404, no hash mismatch" two_clients
