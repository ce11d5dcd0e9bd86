# 95-front-faults.sh: hosts install through a front while its three mirrors die, vanish, stall, lie and fall behind by a seeded plan. Each
# is in a network namespace of its own; each mirror is nginx behind a line with a latency, a rate and resets (scripts/e2e/slowline).
#
# By default 8 hosts for 25 s; with E2E_LONG=1 50 for 90 s.
#
#	E2E_SEED=N  of the plan and of the resets
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/tree-nginx.sh"
seed=${E2E_SEED:-$(date +%s)}
clients=8 seconds=25
[ -z "${E2E_LONG:-}" ] || { clients=50 seconds=90; }
say "seed $seed"

# --- the network: a switch, and what is plugged into it

net=mmoci-95-$$
inside() { # SPACE COMMAND..
	_space=$net-$1
	shift
	ip netns exec "$_space" "$@"
}
# plug NAME ADDRESS: a namespace with that address.
plug() {
	ip netns add "$net-$1" && echo "$net-$1" >>spaces
	ip -n "$net-switch" link add "$1" type veth peer name eth0 netns "$net-$1"
	ip -n "$net-switch" link set "$1" master br0 up
	ip -n "$net-$1" -batch - <<-END
		link set lo up
		addr add 198.51.100.$2/24 dev eth0
		link set eth0 up
	END
}
ip netns add "$net-switch" && echo "$net-switch" >>spaces
ip -n "$net-switch" link add br0 type bridge
ip -n "$net-switch" link set br0 up

site
"$mmoci" export --static tree --apt "oci:$shared/layout:site" >/dev/null
(cd "$E2E_TOP" && CGO_ENABLED=0 "${GO:-go}" build -o "$work/slowline" ./scripts/e2e/slowline)
n=10
for m in de1 de2 fr1; do
	n=$((n + 1))
	plug $m $n
	cp -al tree "tree-$m"
	tree_nginx_prefix="ip netns exec $net-$m"
	tree_nginx $m 127.0.0.1:8080 "$work/tree-$m"
	start "line-$m" ip netns exec "$net-$m" ./slowline -listen "198.51.100.$n:80" -rtt 20ms -rate 200 -seed "$seed$n" -reset 20000000 127.0.0.1:8080
	echo "$pid" >"line-$m.pid"
	eventually test -s "line-$m.log"
	echo "- {name: $m, url: \"http://198.51.100.$n/\", allow-http: yes}" >>mirrors.yaml
done
plug front 1
ip netns exec "$net-front" "$mmoci" serve --listen 198.51.100.1:80 --state front.state --registry --mirrors mirrors.yaml \
	"oci:$shared/layout:site" >front.access 2>front.log &
pid=$!
echo $pid >>pids
eventually ip netns exec "$net-front" curl -sf http://198.51.100.1/readyz

# --- hosts

wanted=$(find tree/apt/mirror:site/debian/pool/ -name '*.deb' -size -400k | sed 's|.*/||; s|_.*||' | sort -u | grep -vx hello | head -n 12 | tr '\n' ' ')
for n in $(seq "$clients"); do
	plug "c$n" $((100 + n))
	apt_own "client-$n"
	for a in debian/bookworm debian-security/bookworm-security; do
		echo "deb [signed-by=$sitekey] mirror+http://198.51.100.1/setup/${a%/*}.mirrors ${a#*/} main"
	done >"client-$n/sources/front.list"
	# As artifacts/docs/mirrors.md says: on to the next line at once.
	echo 'Acquire::http::Timeout "4"; Acquire::Retries "0";' >>"client-$n.conf"
done

# host N: updates, and then installs from nothing again and again, as long as the plan runs.
host() {
	export APT_CONFIG="$work/client-$1.conf"
	inside "c$1" apt-get -q -o APT::Update::Error-Mode=any update || return 1
	while kill -0 $plan 2>/dev/null; do
		rm -f "client-$1"/archives/*.deb
		# A host of a machine that does much else may time out at the front itself; its user tries again.
		# shellcheck disable=SC2086 # names
		if inside "c$1" timeout 90 apt-get -q -y -d --no-install-recommends install hello $wanted; then
			echo "$1" >>"client-$1.done"
		else
			inside "c$1" timeout 90 apt-get -q -y -d --no-install-recommends install hello $wanted || return 1
			echo "$1 again" >>"client-$1.done"
		fi
	done
}

storm() {
	python3 "$E2E_TOP/scripts/e2e/front-faults.py" "$seed" $seconds "$net" de1 de2 fr1 >faults.jsonl 2>faults.err &
	plan=$!
	eventually test -s faults.jsonl # the lies are told
	installs=
	for n in $(seq "$clients"); do
		host "$n" >"client-$n.log" 2>&1 &
		installs="$installs $!"
	done
	failed=0
	for p in $installs; do wait "$p" || failed=$((failed + 1)); done
	wait $plan || { cat faults.err; return 1; }
	[ $failed = 0 ] || grep -h '^[EW]:' client-*.log | head -20
	cat faults.jsonl
	jq -c 'select(.msg | test("mirror"))' front.log | cut -c1-200
	python3 "$E2E_TOP/scripts/e2e/front-faults.py" judge front.log faults.jsonl front.access de1 de2 fr1 >judged || { cat judged; return 1; }
	cat judged
	same "hosts that failed" $failed 0
}
check "$clients hosts install while mirrors die, vanish, stall, lie and fall behind (seed $seed): none fails, each fault is named" storm
[ ! -s judged ] || sed 's/^/   /' judged
