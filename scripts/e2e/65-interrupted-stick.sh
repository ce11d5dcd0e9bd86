# 65-interrupted-stick.sh: bootstrap.sh from a stick with images, killed at seeded points, with and without the whole host: the same
# command again completes it. Two points; E2E_LONG=1: twenty.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
. "$E2E_TOP/scripts/e2e/engines.sh"

engines_stick
seed=${E2E_SEED:-$(date +%s)}
echo "     seed $seed (E2E_SEED)"

# random N: the next number below N.
random() {
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	_random=$((seed / 65536 % $1))
}

# After which line of its bootstrap.sh is killed, and within how many tenths of a second. Most of the time goes into packages.
points=2
[ -z "${E2E_LONG:-}" ] || points=20
killed() { # LINE TENTHS host|script
	on_host setsid sh -c 'echo $$ >/boot.pid; deploy_with_mirror=yes MMOCI_KEY=/media/site.pub.asc exec sh /media/stick/mmoci/bootstrap.sh' >killed.log 2>&1 &
	_shell=$!
	eventually grep -qF -e "$1" killed.log # for 20 s
	sleep "$(echo "$2" | awk '{ print $1 / 10 }')"
	if [ "$3" = host ]; then
		host_gone
		host_up
	else
		on_host sh -c 'kill -9 -- "-$(cat /boot.pid)"' || :
		on_host sh -c 'while pidof dpkg >/dev/null; do sleep 0.1; done' # it goes on, so that no package is left half-way
	fi
	wait $_shell || :
	cat killed.log
}
completed() {
	bootstrapped
	on_host docker run --rm --network none $busybox | tee hello.txt
	grep -x hello hello.txt
	healthy
	on_host apt-get -q update 2>&1 | tee update.err
	updated update.err
	bootstrapped
	same "output of another run" "" "$(cat boot.out)"
	not grep ' takes ' boot.err
	on_host mmoci host undo
	same "left in docker" "" "$(on_host docker image ls -q)"
	same "sources left" "" "$(ls "$root/etc/apt/sources.list.d")"
	same "half files" "" "$(find "$root/etc" "$root/var/lib/mmoci-host" "$root/usr/local" -name '.mmoci-tmp*')"
}

n=0
while [ $n -lt $points ]; do
	n=$((n + 1))
	case $((n % 4)) in
	1) line='to fetch' most=90 ;;
	2) line='bootstrap.sh: packages' most=20 ;;
	3) line=" takes $busybox" most=15 ;;
	0) line='bootstrap.sh: images' most=15 ;;
	esac
	random $most && tenths=$_random
	random 2 && what=script && [ $_random = 0 ] || what=host
	bare_host "point$n"
	killed "$line" $tenths $what >killed.out
	check "killed $tenths tenths of a second after \"$line\" ($what): the rerun completes it" completed
	host_gone
	rm -rf --one-file-system "$root"
done
