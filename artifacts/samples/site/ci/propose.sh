#!/bin/sh
# propose.sh BRANCH: what the merge into BRANCH would change. It needs no key and no right to push.
# The configuration is named (-f) because runners make workspaces that anybody may write, of which mmoci takes nothing unasked.
set -eu
repository=$(sed -n 's/^ref: *\([^ ]*\):[^:/ ]* *\(#.*\)\{0,1\}$/\1/p' mmoci.yaml)
now=$repository:${1:?the branch that is merged into}

# Does the lock fit the configuration? (11: it does, and upstream has lost some of it, which the snapshot of now has.)
mmoci lock --check -f mmoci.yaml || [ $? = 11 ]

# What would be uploaded. (Unsigned here, so indices are listed also where nothing changed.)
mmoci push --plan --insecure-unsigned --date auto -f mmoci.yaml "$now"

# What would change, with the changelogs: a snapshot is made here, and compared with that of now.
there=0
mmoci ls -f mmoci.yaml "$now" >/dev/null || there=$?
case $there in
0) held=$now ;;
4) held= ;; # not yet
*) exit $there ;;
esac
rm -rf preview
mmoci push --insecure-unsigned ${held:+"--held=$held"} -f mmoci.yaml oci:preview:new
if [ $there = 0 ]; then mmoci diff --markdown "$now" oci:preview:new; else echo "The first snapshot of $now."; fi >diff.md
cat diff.md
