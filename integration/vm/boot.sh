#!/bin/bash
# boot.sh IMAGE PAYLOAD SECONDS [KERNEL-ARGUMENT...]: boots a guest of image.sh under QEMU, without a network, and
# runs PAYLOAD/run in it as root. The folder PAYLOAD is /payload there, writable. Nothing that the guest writes is
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

# qemu SECONDS ARGUMENT...: a bare machine that ends when the guest does, or in time. It dies with this script.
qemu() {
  local limit=$1
  shift
  setpriv --pdeathsig TERM timeout --foreground --kill-after=5 "$limit" \
    qemu-system-x86_64 -machine q35,vmport=off,smbus=off,sata=off,usb=off,hpet=off -smp 2 -m 1024 \
    -nodefaults -no-user-config -display none -no-reboot -kernel "$image/vmlinuz" \
    -chardev "file,id=console,path=$work/console" -serial chardev:console "$@" </dev/null &
  guest=$!
  wait "$guest"
}

# /dev/kvm proves nothing: under a hypervisor it may be there and no guest boot. Without a root the kernel boots
# up to a panic and reboots, that is, ends QEMU: where it does so in time, KVM works.
kvm_works() {
  [ -w /dev/kvm ] &&
    qemu 10 -accel kvm -cpu host -append 'console=ttyS0 panic=-1' 2>/dev/null &&
    grep -q 'Unable to mount root' "$work/console"
}

accel=${MINIRUN_VM_ACCEL:-}
[ -n "$accel" ] || { kvm_works && accel=kvm || accel=tcg; }
case $accel in
  kvm) cpu=(-accel kvm -cpu host) ;;
  tcg) cpu=(-accel "tcg,thread=multi,tb-size=512" -cpu max) ;;
  *) end 125 "MINIRUN_VM_ACCEL=$accel: it is kvm or tcg" ;;
esac

# e2fsprogs copies owners, modes and extended attributes; the slack is for what the tests write.
kib=$(du -sk "$payload" | cut -f1)
mke2fs -q -F -t ext4 -m 0 -O ^has_journal -E nodiscard -d "$payload" "$work/payload" "$((kib * 5 / 4 + 262144))K" >/dev/null ||
  end 125 "no payload disk"

echo "vm: booting $(basename "$image") ($accel)" >&2
: >"$work/status"
status=0
qemu "$seconds" "${cpu[@]}" -initrd "$image/initrd" \
  -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3 mitigations=off net.ifnames=0 panic=-1 systemd.show_status=0 systemd.unit=guest-test.target $*" \
  -drive "file=$image/disk.qcow2,format=qcow2,if=none,id=root,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root,addr=4 \
  -drive "file=$work/payload,format=raw,if=none,id=payload,cache=unsafe" -device virtio-blk-pci,drive=payload,serial=payload,addr=5 \
  -device virtio-serial-pci -device virtio-rng-pci \
  -chardev file,id=output,path=/dev/stdout,append=on -device virtserialport,chardev=output,name=guest.output \
  -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=guest.status ||
  status=$?

[ "$status" != 124 ] || end 124 "TIMEOUT: not done after $seconds s"
panic=$(grep -a -o -m 1 'Kernel panic.*' "$work/console") && end 126 "PANIC: $panic"
verdict=$(tr -dc 0-9 <"$work/status")
case $verdict in
  '') end 126 "DIED: the guest switched off and left no status (QEMU: $status)" ;;
  0) end 0 "PASS after $SECONDS s" ;;
  *) end 1 "FAIL: status $verdict after $SECONDS s" ;;
esac
