#!/bin/bash
# accel.sh IMAGE: prints kvm where IMAGE's kernel boots under it, else tcg, which is emulation and 20 to 35 times
# slower. MINIRUN_VM_ACCEL decides instead.
set -euo pipefail

image=${1:?usage: accel.sh IMAGE}
case ${MINIRUN_VM_ACCEL:=} in
  kvm | tcg) echo "$MINIRUN_VM_ACCEL" && exit ;;
  ?*) echo "accel.sh: MINIRUN_VM_ACCEL=$MINIRUN_VM_ACCEL: it is kvm or tcg" >&2 && exit 1 ;;
esac

# /dev/kvm alone proves nothing: in a virtual machine it may be there, and no guest boot. Given no root file system
# a kernel panics, which ends QEMU: where it gets that far, KVM works.
if [ -w /dev/kvm ] &&
  timeout --foreground --kill-after=1 10 qemu-system-x86_64 -accel kvm -cpu host -machine q35 -nodefaults -display none \
    -no-reboot -kernel "$image/vmlinuz" -append 'console=ttyS0 panic=-1' -serial stdio </dev/null 2>/dev/null |
    grep -a -q 'Unable to mount root'; then
  echo kvm
else
  echo tcg
fi
