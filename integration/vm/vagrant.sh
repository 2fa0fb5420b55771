#!/bin/bash
# vagrant.sh: vagrant up, the suite, vagrant destroy, with a box made here. A libvirtd of its own runs it, in namespaces
# of its own: nothing of it is seen outside, and all of it ends with this script.
# Ends as boot.sh does, but for a panic, of which a broken connection is all that is seen.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
fail() { echo "vm: SETUP: $1" >&2; exit 125; }

prepare() {
  local image
  image=$("$here/image.sh" bookworm) || fail "no image"
  "$here/payload.sh" || fail "no payload"
  MINIRUN_VM_ACCEL=$("$here/accel.sh" "$image")
  export MINIRUN_VM_ACCEL
  state=$(mktemp -d "$tree/build/vm/vagrant.XXXXXX")
  trap 'rm -rf "$state"' EXIT
  trap '[ -z "${inside:-}" ] || kill -KILL "$inside"; exit 130' INT TERM HUP
  "$here/box.sh" "$image" "$state/minirun.box" || fail "no box"
  # SIGTERM would not end it: as PID 1 it has no default for signals.
  setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child=KILL --mount-proc --propagation private \
    "$0" inside "$state" </dev/null &
  inside=$!
  wait "$inside"
}

start_libvirtd() {
  ip link set lo up
  mkdir -p "$state/libvirt" /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt
  for dir in /etc/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt; do mount -t tmpfs none "$dir"; done
  mount --bind "$state/libvirt" /var/lib/libvirt
  printf '%s\n' 'user = "root"' 'group = "root"' 'dynamic_ownership = 0' 'remember_owner = 0' \
    'security_driver = "none"' 'namespaces = []' 'cgroup_controllers = []' 'stdio_handler = "file"' >/etc/libvirt/qemu.conf
  printf '%s\n' 'auth_unix_rw = "none"' 'unix_sock_group = "root"' >/etc/libvirt/libvirtd.conf
  libvirtd --daemon >"$state/libvirtd.log" 2>&1 || { cat "$state/libvirtd.log" >&2; fail "libvirtd does not start"; }
  virsh --quiet version >/dev/null || fail "libvirtd does not answer"
}

# What vagrant runs in is a PID namespace: with this function's end, libvirtd and the guest end too.
inside() {
  export LIBVIRT_DEFAULT_URI=qemu:///system VAGRANT_DEFAULT_PROVIDER=libvirt VAGRANT_NO_COLOR=1 \
    VAGRANT_HOME=$state/home VAGRANT_DOTFILE_PATH=$state/dot VAGRANT_CHECKPOINT_DISABLE=1 \
    VAGRANT_BOX_UPDATE_CHECK_DISABLE=1 MINIRUN_BOX=minirun/bookworm MINIRUN_PAYLOAD=build/vm/payload
  start_libvirtd
  cd "$tree"
  vagrant box add --name "$MINIRUN_BOX" "$state/minirun.box" || fail "no box"
  vagrant up || fail "vagrant up"
  local status=0 seconds=${MINIRUN_VM_TIMEOUT:-2800}
  mkdir -p build/results
  timeout --kill-after=5 "$seconds" vagrant ssh -c 'cd /vagrant && sudo make test-integration MINIRUN_PAYLOAD=.' -- \
    -T -o ServerAliveInterval=20 | tee build/results/vagrant.log || status=$?
  vagrant destroy --force || fail "vagrant destroy"
  case $status in
    0) echo "vm: PASS after $SECONDS s" ;;
    124) echo "vm: TIMEOUT: not done after $seconds s" && exit 124 ;;
    255) echo "vm: DIED: the connection broke" && exit 126 ;;
    *) echo "vm: FAIL: status $status after $SECONDS s" && exit 1 ;;
  esac
} >&2

case ${1:-} in
  inside) state=$2 && inside ;;
  *) prepare ;;
esac
