#!/bin/bash
# image.sh SUITE [ENGINE PACKAGE...]: a Debian guest made from packages; prints its directory. A guest with an ENGINE has
# more PACKAGES than others.
#
# build/vm/[ENGINE-]SUITE-HASH/{vmlinuz,initrd,disk.qcow2}. HASH is of all that the image is made of, so an image is
# built once and never goes stale. The packages come from the mirrors that this host's apt uses.
set -euo pipefail

suite=${1:?usage: image.sh SUITE [ENGINE PACKAGE...]}
name=${2:+$2-}$suite
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../../build/vm

# apparmor has the parser for docker-default; dbus is how the systemd cgroup driver asks; iproute2, procps and tmux are
# what the suite asks for, jq what the guide does; runc and strace are what it compares with; openssh-server, sudo, rsync
# and make are for Vagrant.
packages=systemd-sysv,udev,dbus,libpam-systemd,uidmap,kmod,linux-image-cloud-amd64,tiny-initramfs
packages+=,apparmor,iproute2,procps,jq,tmux,openssh-server,sudo,rsync,make,slirp4netns,passt,runc,strace
for package in "${@:3}"; do packages+=,$package; done

hash=$(cd "$here" && { cat image.sh guest/*; echo "${@:3}"; } | sha256sum | cut -c1-12)
image=$cache/$name-$hash
if [ -d "$image" ]; then
  realpath "$image"
  exit
fi
[ "$(id -u)" = 0 ] || { echo "image.sh: needs root" >&2; exit 1; }

# The first mirror of Debian itself that apt knows; none, as on Ubuntu: mmdebstrap's own default.
# shellcheck disable=SC2016 # apt expands these
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }')

mkdir -p "$cache"
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
echo "image.sh: building a $name guest" >&2
mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
  --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --customize-hook="$here/guest/setup.sh \"\$1\"" "$suite" "$work/root" ${mirror:+"$mirror"} >&2

install -m 644 "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
install -m 644 "$work"/root/boot/initrd.img-* "$work/initrd"
truncate -s 4G "$work/disk.raw"
mke2fs -q -F -t ext4 -L root -m 0 -O ^has_journal -d "$work/root" "$work/disk.raw"
qemu-img convert -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
rm -rf "$work/root" "$work/disk.raw"

# What an older script or package list made is of no use any more.
find "$cache" -maxdepth 1 -type d -name "$name-*" -exec rm -rf {} +
chmod 755 "$work"
mv "$work" "$image"
realpath "$image"
