#!/bin/bash
# setup.sh ROOT: what makes a freshly unpacked Debian the guest. Run by mmdebstrap, on the host.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")" && pwd)

echo minirun >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 minirun\n' >"$root/etc/hosts"
echo 'LABEL=root / ext4 noatime 0 0' >"$root/etc/fstab"
: >"$root/etc/machine-id"

install -m 755 "$here/agent.sh" "$root/usr/local/sbin/guest-agent"
install -m 644 "$here/guest-agent.service" "$here/guest-test.target" "$root/etc/systemd/system/"
install -D -m 644 "$here/patient.conf" "$root/etc/systemd/system.conf.d/patient.conf"
install -m 644 "$here/80-dhcp.network" "$root/etc/systemd/network/"

# In a chroot mktirfs cannot see which modules the root disk needs: name them.
version=$(ls "$root/lib/modules")
chroot "$root" mktirfs -M no -m no --include-modules=virtio_pci,virtio_blk -o "/boot/initrd.img-$version" "$version"

# Vagrant's conventions: its user, and its key, which all the world knows. The guest must never get an address
# that others reach.
chroot "$root" useradd -m -s /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
chmod 440 "$root/etc/sudoers.d/vagrant"
install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$here/vagrant.pub" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
echo 'UseDNS no' >"$root/etc/ssh/sshd_config.d/minirun.conf"

chroot "$root" systemctl enable --quiet systemd-networkd.service ssh.service apparmor.service
# Nothing may run beside the tests, and under emulation each unit costs.
for unit in systemd-networkd-wait-online.service systemd-timesyncd.service systemd-pstore.service \
  e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  fstrim.timer logrotate.timer getty@tty1.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# Compiling these at each boot costs seconds, and nothing here has them.
rm -f "$root"/etc/apparmor.d/{nvidia_modprobe,lsb_release}
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
