#!/bin/sh
# deb.sh VERSION ARCHITECTURE FILE: makes the Debian package FILE of what `make
# build` made. The program is static, so the package depends on nothing.
set -eu
version=$1 arch=$2 deb=$3
tree=build/deb
rm -rf "$tree"
make -s install DESTDIR="$tree" PREFIX=/usr
gzip -9n "$tree/usr/share/man/man1/minirun.1"
ln -s minirun.1.gz "$tree/usr/share/man/man1/minirun-runtime.1.gz"
doc=$tree/usr/share/doc/minirun
mkdir -p "$doc" "$tree/DEBIAN"
install -Dm644 packaging/minirun.apparmor "$tree/usr/share/minirun/minirun.apparmor"
cp -r build/licenses "$doc/licenses"
install -m644 -t "$doc" NOTICE SECURITY.md README.md docs/guide.md
cat packaging/copyright >"$doc/copyright"
gzip -9n <<CHANGELOG >"$doc/changelog.gz"
minirun ($version) unstable; urgency=medium

  * See https://github.com/minirun/minirun/blob/main/CHANGELOG.md

 -- The minirun authors <minirun@users.noreply.github.com>  $(git log -1 --format=%cD)
CHANGELOG
mkdir -p "$tree/usr/share/lintian/overrides"
echo 'minirun: statically-linked-binary [usr/bin/minirun]' >"$tree/usr/share/lintian/overrides/minirun"
find "$tree" -type d -exec chmod 755 {} +
cat >"$tree/DEBIAN/control" <<CONTROL
Package: minirun
Version: $version
Architecture: $arch
Maintainer: The minirun authors <minirun@users.noreply.github.com>
Section: admin
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Recommends: ca-certificates, uidmap, slirp4netns | passt
Suggests: mmdebstrap, debian-archive-keyring
Built-Using: $(dpkg-query -W -f='${source:Package} (= ${source:Version}), ' libseccomp-dev musl-dev | sed 's/, $//')
Homepage: https://github.com/minirun/minirun
Description: daemonless container launcher with explained seccomp filters
 minirun runs a command in a container, with the flags of docker run and without
 a daemon. It reads Docker's seccomp profiles, resolves them for the container's
 capabilities, and explains which rule of which line decides about a call and
 what would allow it.
CONTROL
mkdir -p "$(dirname "$deb")"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb"
