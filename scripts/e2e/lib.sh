# shellcheck shell=sh
# lib.sh: what the end-to-end tests share; sourced by each, under set -eu, when scripts/e2e.sh runs them.
#
#	check NAME COMMAND..   one check: ok if the command ends with 0
#	refused CODE TEXT COMMAND..   the command must end with CODE and say TEXT on standard error
#	start NAME COMMAND..   a process in the background, ended at the end at the latest
#
# What a function hands back stands in the variable named in its comment.

umask 022
name=$(basename "$0" .sh)
work=$E2E_WORK/$name     # this script's own
shared=$E2E_WORK/shared  # made once a run, read by all
up=$E2E_CACHE/upstream   # real packages, as scripts/real-upstream.sh lays them out
mmoci=$E2E_TOP/bin/mmoci
PATH=$E2E_TOP/.tools:$PATH:/usr/sbin:/sbin
XDG_STATE_HOME=$work/xdg
arch=$(dpkg --print-architecture)
export PATH XDG_STATE_HOME
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY # everything here is on loopback
unset APT_CONFIG || :
mkdir -p "$work" "$shared"
cd "$work"
export E2E_SCRIPT="$work"
: >pids
: >mounts
: >spaces

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

# started_here PID: a process of this script. The number of one that ended long ago may be that of somebody else's by now.
started_here() {
	tr '\0' '\n' <"/proc/$1/environ" | grep -qxF "E2E_SCRIPT=$work" || [ "$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$1/stat")" = $$ ] ||
		case $(readlink "/proc/$1/cwd") in "$work" | "$work"/*) ;; *) false ;; esac # nginx writes its name over its environment
} 2>/dev/null

# clean_up: ends what was started, unmounts what was mounted, newest first.
clean_up() {
	status=$?
	trap - EXIT INT TERM HUP
	set +e
	times >"$work.times" # a script may use $name for its own
	while read -r p; do ! started_here "$p" || kill "$p"; done <"$work/pids" 2>/dev/null
	sleep 0.2
	while read -r p; do ! started_here "$p" || kill -9 "$p"; done <"$work/pids" 2>/dev/null
	# What was started in a chroot of ours is a child of something that is gone by now.
	for p in /proc/[0-9]*; do
		case $(readlink "$p/root") in "$work"/*) kill -9 "${p#/proc/}" ;; esac
	done 2>/dev/null
	tac "$work/mounts" | while read -r m; do
		mountpoint -q "$m" || continue
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	while read -r s; do
		for p in $(ip netns pids "$s"); do kill -9 "$p"; done # what a test's own programs started there, too
		ip netns del "$s"
	done <"$work/spaces" 2>/dev/null
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# --- checks

# scripts/e2e.sh counts these lines on standard output.
ok() { echo "ok $*"; }
fail() { echo "not ok $*"; }

# check NAME COMMAND..: its output goes to check.log; of what fails the last lines are shown.
check() {
	_check=$1
	shift
	set +e
	(set -e; "$@") >check.log 2>&1
	_status=$?
	set -e
	cat check.log >&2
	if [ $_status = 0 ]; then
		ok "$_check"
	else
		fail "$_check (exit $_status)"
		tail -n 12 check.log | sed 's/^/     | /'
	fi
}

# refused CODE TEXT COMMAND..: for use under check.
refused() {
	_code=$1 _text=$2
	shift 2
	_got=0
	"$@" >refused.out 2>refused.err || _got=$?
	cat refused.err
	[ $_got = "$_code" ] || { echo "exit $_got, not $_code: $*"; return 1; }
	grep -qF -e "$_text" refused.err || { echo "does not say: $_text"; return 1; }
}

# not COMMAND..: it must fail. (After a plain ! the shell goes on under set -e.)
not() {
	if "$@"; then
		echo "should fail: $*"
		return 1
	fi
}

# same WHAT A B: two values are one.
same() {
	[ "$2" = "$3" ] || { echo "$1: $2 is not $3"; return 1; }
}

# damage FILE OFFSET: that byte becomes another, whatever it was.
damage() {
	_was=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	printf "\\$(printf %o $((_was ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# --- processes

# start NAME COMMAND..: $pid; what it says goes to NAME.log.
start() {
	_name=$1
	shift
	: >"$work/$_name.log" # now: what an earlier one said is not what this one says
	"$@" >"$work/$_name.log" 2>&1 8>&- &
	pid=$!
	echo $pid >>"$work/pids"
}

# stop PID: ends it and waits.
stop() {
	kill "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

# eventually COMMAND..: until it ends with 0, for at most 20 s.
eventually() {
	_n=0
	until "$@" >/dev/null 2>&1; do
		_n=$((_n + 1))
		[ $_n -lt 200 ] || { say "never: $*"; return 1; }
		sleep 0.1
	done
}

# free_port: a port of loopback that nobody holds.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# nginx_start NAME DIR: $nginx is its URL, NAME.access its log: status, bytes, method, path.
nginx_start() {
	_port=$(free_port)
	nginx=http://127.0.0.1:$_port
	mkdir -p "$work/$1.d"
	cat >"$work/$1.conf" <<-END
		daemon off;
		user root;
		worker_processes 1;
		pid $work/$1.d/pid;
		error_log $work/$1.error;
		events { worker_connections 256; }
		http {
		  log_format short '\$status \$body_bytes_sent \$request_method \$uri';
		  access_log $work/$1.access short;
		  client_body_temp_path $work/$1.d; proxy_temp_path $work/$1.d; fastcgi_temp_path $work/$1.d;
		  uwsgi_temp_path $work/$1.d; scgi_temp_path $work/$1.d;
		  server { listen 127.0.0.1:$_port; root $2; autoindex on; }
		}
	END
	start "$1" nginx -e "$work/$1.error" -c "$work/$1.conf"
	eventually curl -s -o "$work/$1.d/index" "$nginx/"
}

# registry_start NAME PROGRAM DIR [ADDRESS [TLS]]: a registry of distribution's with its blobs in DIR;
# $registry is its address, NAME.log holds its access log. PROGRAM: registry (v3) or docker-registry (Debian's).
registry_start() {
	registry=${4:-127.0.0.1:$(free_port)}
	mkdir -p "$3"
	cat >"$work/$1.yml" <<-END
		version: 0.1
		log: {level: warn, accesslog: {disabled: false}}
		storage:
		  filesystem: {rootdirectory: $3}
		  delete: {enabled: true}
		http:
		  addr: $registry
		  secret: e2e
		${5:+  tls: {certificate: $5.crt, key: $5.key\}}
	END
	# shellcheck disable=SC2086 # a prefix of words
	OTEL_TRACES_EXPORTER=none start "$1" ${registry_prefix:-} "$(command -v "$2")" serve "$work/$1.yml"
	[ -n "${5:-}" ] || eventually curl -sf "http://$registry/v2/"
}
registry_prefix=

# listening LOG: the first address that a server listens on, from its log of events.
listening() { sed -n 's/.*"listening on \([^,"]*\).*/\1/p' "$1"; }

# serve_start NAME ARGUMENT..: mmoci serve; $serve is its URL, NAME.access its access log.
serve_start() {
	_name=$1
	shift
	rm -f "$work/$_name.log" # that of an earlier one also says where it listens
	"$mmoci" serve --listen 127.0.0.1:0 --state "$work/$_name.state" "$@" >"$work/$_name.access" 2>"$work/$_name.log" &
	pid=$!
	echo $pid >>"$work/pids"
	eventually grep -q 'listening on ' "$work/$_name.log" || { cat "$work/$_name.log" >&2; die "mmoci serve did not start"; }
	serve=http://$(listening "$work/$_name.log")
}

# forgeries: $forgeries, the good and forged snapshots of internal/testarchive/forge with their keys and expected.tsv. Nobody writes there.
forgeries() { once forgeries make_forgeries; }
forgeries=$shared/forgeries
make_forgeries() {
	(cd "$E2E_TOP" && MMOCI_FORGERIES=$forgeries "${GO:-go}" test -count=1 -run '^TestWriteForgeries$' ./internal/chaintest) >&2
}

# --- real packages

# base: the names of what a minimal root is made of.
base() {
	apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' | while read -r f; do
		for g in "$f" "$f".*; do [ -e "$g" ] && /usr/lib/apt/apt-helper cat-file "$g" && break; done
	done | awk '/^Package:/ { p = $2 } /^Priority: required/ { print p } END { print "apt" }' | sort -u
}

# once NAME COMMAND..: the command, once a run, for all scripts, some of which run beside this one. The command calls no once.
once() {
	[ ! -e "$shared/$1.done" ] || return 0
	exec 8>"$shared/$1.lock"
	flock 8
	if [ ! -e "$shared/$1.done" ]; then
		_made=$1
		shift
		"$@"
		: >"$shared/$_made.done"
	fi
	exec 8>&-
}

# lists: the host's own apt knows its archives as of now.
lists() { once lists apt-get -q update >&2; }

# upstream: lays out the real upstream in $up.
upstream() {
	lists # base reads them
	once upstream make_upstream
}
make_upstream() {
	# Twice: what docker.io alone needs is not all among what it needs beside a base system, which has other alternatives.
	"$E2E_TOP/scripts/real-upstream.sh" "$up" docker.io >&2
	# shellcheck disable=SC2046 # names
	"$E2E_TOP/scripts/real-upstream.sh" --verbatim bookworm-updates "$up" docker.io hello $(base) >&2
}

# upstream_apt ARGUMENT..: apt-get of an empty host that knows the real upstream alone.
upstream_apt() { APT_CONFIG=$up/.apt/own.conf apt-get -q "$@"; }

# selection URL PKG..: the archives: of a mmoci.yaml that takes these packages from upstream at URL.
selection() {
	_url=$1
	shift
	awk -v wanted=" $* " -v from="url: $up/" -v to="url: $_url/" '
		index($0, from) { sub(/url: .*\//, to) }
		/^  packages: \[/ {
			sub(/^[^[]*\[/, ""); sub(/\].*/, ""); n = split($0, p, /, /); out = ""
			for (i = 1; i <= n; i++) if (index(wanted, " " p[i] " ") && !seen[p[i]]++) out = out (out == "" ? "" : ", ") p[i]
			print "  packages: " (out == "" ? "none" : "[" out "]"); next
		}
		{ print }' "$up/mmoci.yaml"
}

# site: the site's key, and a layout $shared/layout with the snapshots docker (docker.io and what
# it needs) and site (hello and a base system too), from upstream over HTTP.
site() {
	upstream
	once site make_site
}
make_site() {
	mkdir -p "$shared/keys"
	"$mmoci" key new -o "$shared/keys/site.asc" >&2
	nginx_start site-upstream "$up"
	# shellcheck disable=SC2046 # names
	{ sign_part && selection "$nginx" docker.io; } >"$shared/docker.yaml"
	{ sign_part && selection "$nginx" docker.io hello $(base | tr '\n' ' '); } >"$shared/site.yaml"
	for s in docker site; do
		"$mmoci" push -f "$shared/$s.yaml" "oci:$shared/layout:$s" >"$shared/$s.ref"
	done
	stop "$pid"
}

# sign_part: the part of a mmoci.yaml about the site's keys.
sign_part() {
	echo "sign: {key: $shared/keys/site.asc}"
	echo "trust: [$shared/keys/site.pub.asc]"
}
sitekey=$shared/keys/site.pub.asc

# base_root: a minimal root in $shared/base, made of the snapshot.
base_root() {
	site
	once base make_base
}
make_base() {
	"$mmoci" pull "oci:$shared/layout:site" --keyring "$sitekey" --extract 'Priority (= required),apt' \
		--host-status none -o "$shared/base-debs" >"$shared/base.lines"
	# A root that is thrown away needs no fsync of each file.
	mkdir -p "$shared/base/etc/dpkg/dpkg.cfg.d"
	echo force-unsafe-io >"$shared/base/etc/dpkg/dpkg.cfg.d/e2e"
	"$E2E_TOP/scripts/minroot.sh" "$shared/base" "$shared"/base-debs/*.deb
	rm -f "$shared/base/etc/apt/sources.list"
}

# new_root NAME: $root, a fresh copy of the minimal root.
new_root() {
	base_root
	root=$work/$1
	cp -a --reflink=auto "$shared/base" "$root"
	mkdir -p "$root/proc"
	mount -t proc proc "$root/proc"
	echo "$root/proc" >>"$work/mounts"
}

# in_root COMMAND..: in $root, with nothing of this environment.
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }

# sources_of URL NAME: the .sources that serve gives out, into $root.
sources_of() {
	curl -sf -o "$root/etc/apt/sources.list.d/$2.sources" "$1/setup/$2.sources"
}

# healthy: dpkg has nothing to complain of in $root.
healthy() {
	_audit=$(in_root dpkg --audit)
	[ -z "$_audit" ] || { echo "$_audit"; return 1; }
}

# apt_own NAME: $apt_conf, an apt of its own with an empty status; its sources go to NAME/sources/.
apt_own() {
	mkdir -p "$work/$1/lists/partial" "$work/$1/archives/partial" "$work/$1/sources" "$work/$1/parts"
	: >"$work/$1/status"
	apt_conf=$work/$1.conf
	cat >"$apt_conf" <<-END
		Dir::Etc::sourcelist "/dev/null";
		Dir::Etc::sourceparts "$work/$1/sources";
		Dir::Etc::parts "$work/$1/parts";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "$work/$1/parts";
		Dir::State "$work/$1";
		Dir::State::status "$work/$1/status";
		Dir::Cache "$work/$1";
		APT::Architecture "$arch";
		#clear APT::Architectures;
		APT::Architectures { "$arch"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear DPkg::Post-Invoke;
		#clear DPkg::Pre-Install-Pkgs;
	END
}

# own COMMAND..: an apt program with the last apt_own.
own() { APT_CONFIG=$apt_conf "$@"; }

# updated FILE..: what apt-get update printed holds no error and no warning.
updated() {
	cat "$@"
	not grep -q '^[EW]:' "$@"
}

# packages DIR: name and version of the .debs in DIR, sorted.
packages() {
	for _deb in "$1"/*.deb; do dpkg-deb -W --showformat='${Package} ${Version}\n' "$_deb"; done | LC_ALL=C sort
}
