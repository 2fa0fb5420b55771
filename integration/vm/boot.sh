#!/bin/bash
# boot.sh IMAGE PAYLOAD SECONDS [KERNEL-ARGUMENT...]: boots a guest of image.sh under QEMU, without a network, and
# runs PAYLOAD/run in it as root. The directory PAYLOAD is /payload there, writable. Nothing that the guest writes is
# kept but the output, which is streamed.
#
# Ends with 0: run succeeded; 1: run failed; 124: SECONDS are over; 125: the guest could not be set up;
# 126: the guest died before run ended. Standard error's last line says so in words.
set -euo pipefail

image=${1:?usage: boot.sh IMAGE PAYLOAD SECONDS [KERNEL-ARGUMENT...]} payload=${2:?} seconds=${3:?}
shift 3
work=$(mktemp -d)
guest=
trap '[ -z "$guest" ] || { kill "$guest" && wait "$guest"; } 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

end() { # STATUS TEXT
  [ ! -s "$work/console" ] || [ "$1" -lt 124 ] || tail -n 20 "$work/console" >&2
  echo "vm: $2" >&2
  exit "$1"
}

case $("$(dirname "$0")/accel.sh" "$image") in
  kvm) cpu=(-accel kvm -cpu host -smp 2) ;;
  tcg) cpu=(-accel "tcg,tb-size=512" -cpu max) ;; # one CPU: with two, a kernel that patches its code panics at times
  *) end 125 "SETUP: no way to run a guest" ;;
esac

# e2fsprogs copies owners, modes and extended attributes; the slack is for what the tests write.
kib=$(du -sk "$payload" | cut -f1) || end 125 "SETUP: no payload"
mke2fs -q -F -t ext4 -m 0 -O ^has_journal -E nodiscard -d "$payload" "$work/payload" "$((kib * 5 / 4 + 262144))K" >/dev/null ||
  end 125 "SETUP: no payload disk"

echo "vm: booting $(basename "$image"), ${cpu[1]%%,*}" >&2
: >"$work/status"
status=0
# The guest dies with this script, in time or with the kernel's own help.
setpriv --pdeathsig TERM timeout --foreground --kill-after=5 "$seconds" \
  qemu-system-x86_64 -machine q35,vmport=off,smbus=off,sata=off,usb=off,hpet=off "${cpu[@]}" -m 1024 \
  -nodefaults -no-user-config -display none -no-reboot -kernel "$image/vmlinuz" -initrd "$image/initrd" \
  -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3 mitigations=off net.ifnames=0 panic=-1 systemd.show_status=0 systemd.unit=guest-test.target $*" \
  -drive "file=$image/disk.qcow2,format=qcow2,if=none,id=root,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root,addr=4 \
  -drive "file=$work/payload,format=raw,if=none,id=payload,cache=unsafe" -device virtio-blk-pci,drive=payload,serial=payload,addr=5 \
  -device virtio-serial-pci -device virtio-rng-pci \
  -chardev "file,id=console,path=$work/console" -serial chardev:console \
  -chardev file,id=output,path=/dev/stdout,append=on -device virtserialport,chardev=output,name=guest.output \
  -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=guest.status \
  </dev/null &
guest=$!
wait "$guest" || status=$?

[ "$status" != 124 ] || end 124 "TIMEOUT: not done after $seconds s"
panic=$(grep -a -o -m 1 'Kernel panic.*' "$work/console") && end 126 "PANIC: $panic"
[ "$status" != 1 ] || end 125 "SETUP: QEMU does not start"
verdict=$(cat "$work/status")
case $verdict in
  setup) end 125 "SETUP: the guest has no payload" ;;
  '') end 126 "DIED: the guest switched off and left no status (QEMU: $status)" ;;
  0) end 0 "PASS after $SECONDS s" ;;
  *) end 1 "FAIL: status $verdict after $SECONDS s" ;;
esac
