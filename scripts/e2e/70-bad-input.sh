# 70-bad-input.sh: no room, no right, killed: one clear line, nothing wrong left behind, and a rerun finishes.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

site
ref=oci:$shared/layout:docker
extract() { "$mmoci" pull "$ref" --keyring "$sitekey" --extract docker.io --host-status none -o "$1"; }
extract good >good.lines
"$mmoci" pull "$ref" --keyring "$sitekey" -o good-tree >&2

# one_line FILE: besides what any run says there is one line, an error without a trace of Go.
one_line() {
	same "error lines" 1 "$(grep -c '^mmoci: ' "$1")"
	not grep -E 'goroutine|panic' "$1"
}
only_good() {
	[ -d "$1" ] || return 0
	(cd "$1" && find . -type f ! -name '.*') | while read -r f; do cmp "$1/$f" "$2/$f" || exit 1; done
}

# --- a user without rights

cp "$mmoci" mmoci && chmod 755 mmoci
cp "$sitekey" site.asc && chmod 644 site.asc
mkdir locked && chmod 755 locked
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent XDG_STATE_HOME="$work/nobody" "$@"; }
install -d -o 65534 nobody
read_only() {
	refused 1 "permission denied" nobody ./mmoci pull "$ref" --keyring site.asc "$@"
	one_line refused.err
	same "files" "" "$(find locked -mindepth 1)"
}
check "read-only output, extract" read_only --extract docker.io --host-status none -o locked/debs
check "read-only output, tree" read_only -o locked/tree
read_only_layout() {
	refused 1 "permission denied" nobody ./mmoci push --url "$up/debian" --prefix debian --suite bookworm-updates --component main \
		--arch "$arch" --keyring "$up/keyring-debian.gpg" --verbatim oci:locked/layout:x
	one_line refused.err
	same "files" "" "$(find locked -mindepth 1)"
}
check "read-only layout, push" read_only_layout

# --- root, where somebody else has left a configuration

install -d -o 65534 theirs
printf 'ref: oci:../x:x\nsign: {command: [touch, ran]}\ntrust: [%s]\narchives:\n- {prefix: own, mode: curated, debs: .}\n' "$sitekey" >theirs/mmoci.yaml
chown 65534 theirs/mmoci.yaml
not_theirs() {
	refused 2 "belongs to user 65534, and this runs as user 0" sh -c 'cd theirs && "$0" push --date 2026-01-01' "$mmoci"
	refused 2 "belongs to user 65534, and this runs as user 0" sh -c 'cd theirs && "$0" verify "$1"' "$mmoci" "$ref"
	chown 0 theirs/mmoci.yaml
	refused 2 ". belongs to user 65534" sh -c 'cd theirs && "$0" verify "$1"' "$mmoci" "$ref"
	not ls theirs/ran
	(cd theirs && "$mmoci" verify -f mmoci.yaml "$ref")
	install -d -o 65534 theirs/state
	refused 2 "theirs/state belongs to user 65534" env XDG_STATE_HOME="$work/theirs/state" "$mmoci" verify --keyring "$sitekey" "$ref"
	same "of root's in there" "" "$(find theirs/state -mindepth 1)"
}
check "a mmoci.yaml, or a state directory, of another user is not root's" not_theirs

# --root DIR with links that lead out of it: what they lead to stays as it is.
out_of_root() {
	mkdir -p jail outside/mmoci && echo x >outside/mmoci/kept
	ln -s "$work/outside" jail/etc
	refused 1 "" "$mmoci" host sources "$ref" --keyring "$sitekey" --root jail
	rm jail/etc && mkdir -p jail/var jail/etc
	cp -r "$shared/base/var/lib" jail/var/
	ln -s "$work/outside" jail/var/cache
	refused 1 "" "$mmoci" install --ref "$ref" --keyring "$sitekey" --root jail docker.io
	same "outside" outside/mmoci/kept "$(find outside -type f)"
}
base_root
check "--root: no link leads out of it" out_of_root

# --- a full disk

mkdir small
mount -t tmpfs -o size=30m tmpfs small
echo "$work/small" >>mounts

full_extract() {
	refused 1 "no space left" extract small/debs
	one_line refused.err
	only_good small/debs good
	mount -o remount,size=300m small
	extract small/debs >again.lines
	diff -r good small/debs
	sed 's|small/debs|good|g' again.lines | diff good.lines -
	rm -rf small/debs
	mount -o remount,size=30m small
}
check "full disk, extract: said, and the rerun finishes" full_extract

full_tree() {
	refused 1 "no space left" "$mmoci" pull "$ref" --keyring "$sitekey" -o small/tree
	one_line refused.err
	only_good small/tree good-tree
	mount -o remount,size=300m small
	"$mmoci" pull "$ref" --keyring "$sitekey" -o small/tree
	diff -r good-tree small/tree
	rm -rf small/tree
	mount -o remount,size=30m small
}
check "full disk, tree: said, and the rerun finishes" full_tree

full_push() {
	{ sign_part && selection "$up" docker.io; } >docker.yaml
	refused 1 "no space left" "$mmoci" push -f docker.yaml oci:small/layout:docker
	one_line refused.err
	mount -o remount,size=300m small
	"$mmoci" push -f docker.yaml oci:small/layout:docker >pushed.ref
	same "root digest" "$(sed 's/.*@//' "$shared/docker.ref")" "$(sed 's/.*@//' pushed.ref)"
	"$mmoci" verify oci:small/layout:docker --keyring "$sitekey"
}
check "full disk, push into a layout: said, and the rerun finishes" full_push
umount small

# --- killed

# instants COUNT SECONDS: that many instants, spread and shaken over the time that a whole run takes.
instants() { python3 -c 'import random, sys; n, t = int(sys.argv[1]), float(sys.argv[2]); print(*["%.3f" % (t * (i + random.random()) / n) for i in range(n)])' "$1" "$2"; }
seconds() { date +%s.%N; }
# lasted COMMAND..: $lasted, in seconds.
lasted() {
	_t=$(seconds)
	"$@" >lasted.log 2>&1
	lasted=$(echo "$_t $(seconds)" | awk '{ print $2 - $1 }')
}
# killed_after SECONDS COMMAND..
killed_after() {
	_after=$1
	shift
	"$@" >killed.log 2>&1 &
	_pid=$!
	sleep "$_after"
	kill -9 $_pid 2>/dev/null || echo "ended before $_after s"
	wait $_pid 2>/dev/null || :
}

pull_killed() {
	lasted "$mmoci" pull "$ref" --keyring "$sitekey" --extract docker.io --host-status none -o timed
	for t in $(instants 10 "$lasted"); do
		echo "extract, killed after $t of $lasted s"
		killed_after "$t" "$mmoci" pull "$ref" --keyring "$sitekey" --extract docker.io --host-status none -o killed
		only_good killed good
	done
	extract killed >killed.lines
	diff -r good killed
	sed 's|killed|good|g' killed.lines | diff good.lines -
	for t in $(instants 10 "$lasted"); do
		killed_after "$t" "$mmoci" pull "$ref" --keyring "$sitekey" -o killed-tree
		only_good killed-tree good-tree
	done
	"$mmoci" pull "$ref" --keyring "$sitekey" -o killed-tree
	diff -r good-tree killed-tree
}
check "pull killed at 20 instants: nothing half under a final name, the rerun finishes" pull_killed

# An old tag stands in the layout, or registry; a push of another snapshot under it is killed.
old_push() {
	"$mmoci" push --url "$up/debian" --prefix debian --suite bookworm-updates --component main --arch "$arch" \
		--keyring "$up/keyring-debian.gpg" --verbatim --date 2026-01-01T00:00:00Z --sign-key "$shared/keys/site.asc" "$1"
}
new_push() { "$mmoci" push -f docker.yaml "$1"; }
push_killed() {
	old_push "$1" >old.ref
	lasted new_push "$2"
	for t in $(instants 10 "$lasted"); do
		echo "push, killed after $t of $lasted s"
		killed_after "$t" "$mmoci" push -f docker.yaml "$1"
		"$mmoci" verify "$1" --keyring "$sitekey" --keyring "debian=$up/keyring-debian.gpg"
	done
	new_push "$1" >new.ref
	same "root digest" "$(sed 's/.*@//' "$shared/docker.ref")" "$(sed 's/.*@//' new.ref)"
	"$mmoci" verify "$1" --keyring "$sitekey"
}
check "push into a layout killed at 10 instants: the old tag is whole, the rerun finishes" push_killed oci:killed-layout:tag oci:timed-layout:tag

registry_start v3 registry "$work/storage"
check "push into a registry killed at 10 instants: the old tag is whole, the rerun finishes" push_killed "$registry/site/mirror:tag" "$registry/timed/mirror:tag"
