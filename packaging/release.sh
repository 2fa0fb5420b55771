#!/bin/sh
# release.sh VERSION ARCHITECTURE DEB DIR: gathers in DIR what a release
# publishes: the program with its documents, the Debian package, an SBOM, the
# sources of the libraries that are linked in and not Go's, and checksums.
set -eu
version=$1 arch=$2 deb=$3 dir=$4
name=minirun-$version-linux-$arch
case $version in *+*) echo "release: $version is no release: tag a clean tree v$(cat VERSION) for one" >&2 ;; esac
rm -rf "$dir"
mkdir -p "$dir/$name"

make -s install DESTDIR="$dir/$name" PREFIX=
cp -r build/licenses "$dir/$name/licenses"
cp LICENSE NOTICE README.md SECURITY.md CHANGELOG.md docs/guide.md "$dir/$name"
epoch=$(git log -1 --format=%ct)
tar -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -9n >"$dir/$name.tar.gz"
rm -r "${dir:?}/$name"
cp "$deb" "$dir"
go tool -modfile=tools/go.mod cyclonedx-gomod bin -json -version "$version" -output "$dir/$name.cdx.json" minirun

# The very versions that are linked in, from the archives that this machine's apt uses.
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
mkdir -p "$sources/lists/partial"
find /etc/apt -maxdepth 2 -name '*.list' -exec sed -n 's/^deb /deb-src /p' {} + >"$sources/src.list"
find /etc/apt -maxdepth 2 -name '*.sources' -exec sed 's/^Types:.*/Types: deb-src/' {} \; -exec echo \; >"$sources/src.sources"
mkdir "$sources/parts"
cp "$sources"/src.* "$sources/parts"
set -- -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$sources/parts" -o Dir::State::Lists="$sources/lists" \
    -o APT::Sandbox::User=root
apt-get "$@" update
source=$(dpkg-query -W -f='${source:Package}=${source:Version}' libseccomp-dev)
(cd "$dir" && apt-get "$@" source --download-only "$source")
(cd "$dir" && sha256sum -- * >SHA256SUMS)
ls -l "$dir"
