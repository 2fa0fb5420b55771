#!/bin/sh
# What the kernel refuses, for one reason after another.
mount -t tmpfs none /mnt
unshare -U true
hostname foo
date -s 2020-01-01
ls /root/none
echo x >/proc/sys/kernel/hostname
su nobody -s /bin/sh -c 'cat /etc/shadow; kill -0 1; chown nobody /etc/passwd; nice -n -5 true; touch /x'
mknod /tmp/z b 8 0 && cat /tmp/z
dmesg | head -1
perl /p/netlink.pl
prlimit --memlock=65536:65536 perl -e 'syscall(151, 1)' # mlockall
cp /bin/true /tmp/t && chmod 644 /tmp/t && /tmp/t
unshare -U perl -e 'syscall(166, "/proc", 0); sleep 1' # umount2; it can be looked at for a while
true
