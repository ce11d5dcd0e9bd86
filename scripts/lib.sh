# shellcheck shell=sh
# lib.sh: what the scripts here share. To be sourced by a POSIX shell, under set -eu.

# say TEXT: a line on standard error; standard output is for results.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die TEXT: a line, and the end with exit code 1.
die() { say "$*"; exit 1; }

# need PROGRAM...: end with the one line that gets what is missing.
need() {
	for _p in "$@"; do
		command -v "$_p" >/dev/null 2>&1 || die "needs $_p, which is not installed"
	done
}

# listed FILE PATH: digest and size of PATH in the SHA256 list of a Release or InRelease.
listed() {
	awk -v p="$2" '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on && $3 == p { print $1, $2; exit }' "$1"
}

# sha256 FILE: its digest alone.
sha256() { sha256sum <"$1" | cut -d' ' -f1; }
