#!/bin/bash
# box.sh IMAGE BOX: makes a Vagrant box, for libvirt, of a guest of image.sh. It has no boot loader: kernel and initrd
# lie beside the disk.
set -euo pipefail

image=${1:?usage: box.sh IMAGE BOX} box=${2:?}
work=$(mktemp -d "$(dirname "$box")/box.XXXXXX")
trap 'rm -rf "$work"' EXIT

ln "$image/vmlinuz" "$image/initrd" "$work/"
ln "$image/disk.qcow2" "$work/box.img"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 4}' >"$work/metadata.json"
cat >"$work/Vagrantfile" <<'RUBY'
Vagrant.configure("2") do |config|
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(__dir__, "vmlinuz")
    libvirt.initrd = File.join(__dir__, "initrd")
    libvirt.cmd_line = "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0"
    libvirt.management_network_mode = "none" # this host and the guest, no way out
    libvirt.graphics_type = "none"
    libvirt.inputs = []
    libvirt.memballoon_enabled = false
  end
end
RUBY
tar -C "$work" -cf "$box" metadata.json Vagrantfile vmlinuz initrd box.img
