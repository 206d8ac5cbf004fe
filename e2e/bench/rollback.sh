#!/bin/sh
# Go back to the release before the live one, as one script on the host.
# usage: rollback.sh ROOT
set -eu

root=$1
live=$(basename "$(readlink "$root/current")")
previous=$(find "$root/releases" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | grep -B1 -x -- "$live" | head -n 1)
ln -s "releases/$previous" "$root/current.$$"
mv -T "$root/current.$$" "$root/current"
