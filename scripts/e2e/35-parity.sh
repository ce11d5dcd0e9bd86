# 35-parity.sh: closures over all sections, apt and dose-debcheck as the judges.
#
# On the indices that this machine's apt has. Whoever runs it chooses: make e2e PARITY_SEED=n PARITY_COUNT=m.
#
# PARITY_SEED          which packages are drawn (default: any; it is printed)
# PARITY_COUNT         how many from an empty host (default 40; 300 with E2E_LONG=1), a third of them in the security suite
# PARITY_STATUS        the dpkg status that must not be broken (default: this machine's)
# PARITY_STATUS_COUNT  how many of them are installed there (default 10; 300 with E2E_LONG=1)
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
seed=${PARITY_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
long=${E2E_LONG:+300}
count=${PARITY_COUNT:-${long:-40}}
on_host=${PARITY_STATUS_COUNT:-${long:-10}}
status=${PARITY_STATUS:-/var/lib/dpkg/status}

ls /var/lib/apt/lists/*_main_binary-* >/dev/null 2>&1 || lists

# all WHAT: in the figures, each of at least one.
all() {
	grep "^$1: " "$figures"
	awk -F'[:/ ]+' -v what="$1" 'index($0, what ": ") == 1 { n = NF; ok = $(n - 1) == $n && $n > 0 } END { exit !ok }' "$figures"
}

# judged: what both judges say of the closures in $figures.
judged() {
	check "$1: every closure is accepted by apt-get -s install, nothing else to be seen" all "accepted by apt"
	check "$1: every closure is accepted by dose-debcheck" all "accepted by dose-debcheck"
	check "$1: nothing else is installed, upgraded or removed" all "nothing else touched"
	check "$1: every closure is the same from run to run" all deterministic
	check "$1: every package is in apt's version" all "in apt's versions"
	check "$1: so are those that the security suite has" all "of the security suite in apt's versions"
}

# parity NAME: $figures, of what is asked for by the environment.
parity() {
	figures=$work/$1
	if "$E2E_TOP/scripts/parity.sh" >"$figures"; then :; else say "parity.sh ended with $?"; fi
	cat "$figures" >&2
	grep -v '^ ' "$figures" | sed 's/^/   /'
}

at_least() {
	grep '^set-equal to apt: ' "$figures"
	awk -v least="$1" '/^set-equal to apt: / { share = $NF + 0 } END { exit !(share >= least) }' "$figures"
}

unset PARITY_STATUS
PARITY_SEED=$seed PARITY_COUNT=$count
export PARITY_SEED PARITY_COUNT
parity empty
judged "$count packages on an empty host, seed $seed"
check "at least 97% of them are the very set that apt chooses" at_least 97
check "what contradicts itself is closed in groups, each of which apt and dose-debcheck accept" all "groups accepted"

PARITY_COUNT=$on_host PARITY_STATUS=$status
export PARITY_STATUS
parity host
judged "$on_host packages beside what is installed, seed $seed"
