#!/bin/sh
# The steps of a release as one script on the host: what an ideal tool without an agent would run.
# usage: release.sh REPOSITORY ROOT     prints the release's name
set -eu

repository=$1
root=$2
keep=5

mkdir -p "$root/releases" "$root/shared/uploads"
if [ ! -d "$root/repo" ]; then
	git clone -q --mirror -- "$repository" "$root/repo"
fi
git -C "$root/repo" fetch -q --prune origin

id=$(date -u +%Y%m%d-%H%M%S-%N)
mkdir "$root/releases/$id"
git -C "$root/repo" archive main | tar -x -C "$root/releases/$id"
ln -s ../../shared/uploads "$root/releases/$id/uploads"
ln -s "releases/$id" "$root/current.$id"
mv -T "$root/current.$id" "$root/current"

find "$root/releases" -mindepth 1 -maxdepth 1 -type d | sort | head -n -"$keep" | while read -r old; do
	rm -rf -- "$old"
done
echo "$id"
