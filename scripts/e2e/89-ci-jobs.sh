# 89-ci-jobs.sh: the jobs of the sample site repository, of GitLab and of GitHub, run step by step as the files say.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

PATH=${mmoci%/*}:$PATH
"$mmoci" key new -o site.asc >&2
registry_start registry registry "$work/blobs"
echo '{}' >auth.json

# a_site DIR: the sample's repository as it ships, with an archive of the site's own in place of those on the network.
a_site() {
	cp -R "$E2E_TOP/artifacts/samples/site" "$1"
	sed -i "/^packages:/,\$d; s,^ref: [^/]*/site,ref: $registry/$1," "$1/mmoci.yaml"
	printf 'archives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >>"$1/mmoci.yaml"
	cp site.pub.asc "$1/keys"
	version "$1" 1 2026-01-01
	chmod -R a+rwX "$1" # as runners make workspaces
}
# version DIR VERSION DATE: what a branch proposes: alpha in that version, and the lock of it.
version() {
	mkdir -p "$1/debs" tree/DEBIAN
	printf 'Package: alpha\nVersion: %s\nArchitecture: all\nMaintainer: Site <site@example.org>\nDescription: a\n' "$2" >tree/DEBIAN/control
	dpkg-deb --root-owner-group -b tree "$1/debs/alpha.deb"
	"$mmoci" lock --date "$3" -f "$1/mmoci.yaml" -o "$1/mmoci.lock"
}
# job DIR JOB: of a kind of repository.
job() {
	case $1 in
	gitlab) "$E2E_TOP/scripts/e2e/jobs.py" gitlab/.gitlab-ci.yml "$2" gitlab CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main CI_COMMIT_REF_NAME=main \
		HOME="$work/home" MMOCI_SIGN_KEY="$work/site.asc" REGISTRY_AUTH="$work/auth.json" ;;
	github) "$E2E_TOP/scripts/e2e/jobs.py" github/.github/workflows/mirror.yaml "$2" github GITHUB_BASE_REF=main GITHUB_REF_NAME=main \
		GITHUB_STEP_SUMMARY="$work/summary.md" RUNNER_TEMP="$work/temp" HOME="$work/home" \
		"secrets.MMOCI_SIGN_KEY=$(cat site.asc)" secrets.MMOCI_SIGN_PASSPHRASE= "secrets.REGISTRY_AUTH=$(cat auth.json)" github.ref_name=main ;;
	esac
}
through() {
	mkdir -p home temp
	a_site "$1"
	# The first merge: proposed without a key, published with it.
	job "$1" propose
	grep 'The first snapshot' "$1/diff.md"
	refused 4 main "$mmoci" ls "$registry/$1/mirror:main"
	job "$1" publish | tee published
	"$mmoci" ls "$registry/$1/mirror:main" | grep '^alpha  *1 '
	"$mmoci" verify --keyring site.pub.asc "$registry/$1/mirror:main" | grep '^own: site'
	# The next version: the configuration alone does not pass; with its lock it is shown, and published after the merge.
	cp "$1/mmoci.lock" old.lock
	version "$1" 2 2026-01-02
	cp "$1/mmoci.lock" new.lock
	cp old.lock "$1/mmoci.lock"
	refused 1 'mmoci lock --update' job "$1" propose
	cp new.lock "$1/mmoci.lock"
	job "$1" propose
	grep '^| alpha |.* | 1 | 2 |' "$1/diff.md"
	"$mmoci" ls "$registry/$1/mirror:main" | grep '^alpha  *1 '
	job "$1" publish
	"$mmoci" ls "$registry/$1/mirror:main" | grep '^alpha  *2 '
	# Nothing changed: the same again.
	before=$("$mmoci" tag digest "$registry/$1/mirror:main")
	job "$1" publish
	same "digest" "$before" "$("$mmoci" tag digest "$registry/$1/mirror:main")"
}
gitlab() {
	through gitlab
	cmp home/.docker/config.json auth.json
}
check "GitLab: the jobs of .gitlab-ci.yml propose without a key, and publish after the merge" gitlab
github() {
	through github
	grep '^| alpha |' summary.md
	same "left of the key" "" "$(ls -A temp)"
}
check "GitHub: the jobs of the workflow do the same, and leave no key behind" github
