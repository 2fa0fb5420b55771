#!/bin/sh
# crun.sh DIR: fetches crun of Debian trixie, with its libraries, into DIR and prints the program's path. Nothing is installed.
#
# The packages come from the mirror that the host's apt uses, or deb.debian.org, and are checked against Debian's keys.
set -eu
dir=$(realpath -m "${1:?usage: crun.sh DIR}")
crun=$dir/root/usr/bin/crun
[ -e "$dir/ready" ] && { echo "$crun"; exit; }

# shellcheck disable=SC2016 # apt expands these
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }')
apt=$dir/apt
rm -rf "$dir"
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
: >"$apt/status"
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] ${mirror:-http://deb.debian.org/debian} trixie main" >"$apt/sources.list"
get() {
  apt-get -qq -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt" \
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Acquire::Languages=none "$@" >&2
}
get update
get install -y --no-install-recommends --download-only crun patchelf
for deb in "$apt"/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
rm -rf "$apt"

# The loader and the libraries are trixie's as well, by their paths in the program itself.
loader=$(find "$dir/root/usr/lib" -name 'ld-linux*.so.*')
libraries=$(dirname "$loader")
"$loader" --library-path "$libraries" "$dir/root/usr/bin/patchelf" \
  --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$crun" >&2
"$crun" --version >&2
touch "$dir/ready"
echo "$crun"
