#!/bin/sh
# publish.sh BRANCH: pushes what was merged into BRANCH to the tag BRANCH-next, proves it, and promotes it to the tag BRANCH.
# MMOCI_SIGN_KEY names the file of the site's key, MMOCI_SIGN_PASSPHRASE is its passphrase.
set -eu
repository=$(sed -n 's/^ref: *\([^ ]*\):[^:/ ]* *\(#.*\)\{0,1\}$/\1/p' mmoci.yaml)
branch=${1:?the branch}

# What the lock names and upstream has lost is in the snapshot of now.
there=0
mmoci ls -f mmoci.yaml "$repository:$branch" >/dev/null || there=$?
case $there in
0) held=$repository:$branch ;;
4) held= ;; # not yet
*) exit $there ;;
esac

# --date auto: a merge may bring a lock that is older than that of the branch, and dates along a tag increase all the same.
pushed=$(mmoci push --date auto --sign-key "$MMOCI_SIGN_KEY" ${held:+"--held=$held"} -f mmoci.yaml "$repository:$branch-next")
mmoci verify -f mmoci.yaml "$pushed"
mmoci tag promote -f mmoci.yaml "$pushed" "$branch"
