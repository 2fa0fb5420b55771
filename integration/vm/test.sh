#!/bin/bash
# test.sh SUITE [CGROUP [ENGINE TESTS PACKAGE...]]: the integration suite in a guest of Debian SUITE; CGROUP is 1 for a guest
# with cgroup v1, which systemd has up to bookworm. With an ENGINE only TESTS, a regular expression, in a guest that has
# PACKAGES, too. The output stays in build/results/. Ends as boot.sh does.
set -euo pipefail

suite=${1:?usage: test.sh SUITE [CGROUP [ENGINE TESTS PACKAGE...]]} cgroup=${2:-2} engine=${3:-} tests=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
results=$here/../../build/results
guest=${engine:+$engine-}$suite
arguments=()
if [ "$cgroup" = 1 ]; then
  guest+=-cgroup1
  arguments=(systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1)
fi

fail() { echo "vm: SETUP: $1" >&2; exit 125; }
image=$("$here/image.sh" "$suite" ${engine:+"$engine"} "${@:5}") || fail "no image"
"$here/payload.sh" "${tests:-.}" "$engine" || fail "no payload"
mkdir -p "$results"

boot() { # [KERNEL-ARGUMENT...]
  exec setpriv --pdeathsig TERM "$here/boot.sh" "$image" "$here/../../build/vm/payload" "${MINIRUN_VM_TIMEOUT:-2800}" \
    "${arguments[@]}" "$@" 2>&1
}

log=$results/$guest.log
MINIRUN_VM_ACCEL=$("$here/accel.sh" "$image") || fail "no way to run a guest"
export MINIRUN_VM_ACCEL # so that the guests need not try again
if [ -n "$engine" ] || [ "$(nproc)" = 1 ] || [ "$MINIRUN_VM_ACCEL" = kvm ]; then
  boot | tee "$log"
  exit
fi
# An emulated guest has one CPU: a second one takes every other test. The log has the two one after the other, and last
# the line of the one that failed.
boot minirun.part=2/2 >"$log.2" &
first=0 second=0
boot minirun.part=1/2 | tee "$log" || first=$?
wait $! || second=$?
line=$(tail -n 1 "$log")
tee -a "$log" <"$log.2"
rm "$log.2"
[ "$first" = 0 ] || echo "$line" | tee -a "$log"
exit $((first > 0 ? first : second))
