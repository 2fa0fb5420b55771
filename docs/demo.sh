#!/usr/bin/env bash
# The guide's walkthrough on this machine: `make demo`, or demo.sh MINIRUN.
# Shows each command and what it prints, and ends with the first that does not
# do what the guide says.
set -euo pipefail
tree=$(realpath "$(dirname "$0")/..")
PATH=$(dirname "$(realpath "${1:-$tree/minirun}")"):$PATH
cd "$tree"
profile=profiles/chown-audit-control.json

say() { printf '\n# %s\n' "$*"; }

# run WANTED-STATUS WANTED-TEXT COMMAND...
run() {
    local wanted=$1 text=$2 output status=0
    shift 2
    printf '$ %s\n' "${*@Q}" | sed "s/'\([-A-Za-z0-9_.:=\/]*\)'/\1/g"
    output=$("$@" 2>&1) || status=$?
    printf '%s\n' "$output"
    if [ "$status" -ne "$wanted" ]; then
        echo "demo: ended with status $status, not $wanted" >&2
        exit 1
    fi
    if ! grep -qE -- "$text" <<<"$output"; then
        echo "demo: did not print $text" >&2
        exit 1
    fi
}

say 'What a launch needs is here.'
run 0 '^ok +seccomp' minirun doctor

say 'A real Debian, from packages.'
if minirun images | grep -q '^debian:latest '; then
    run 0 '^debian:latest ' minirun images
else
    echo '$ minirun bootstrap debian'
    minirun bootstrap debian
fi

say 'The default profile and capabilities are those of Docker.'
run 0 '^CapEff:[[:space:]]*00000000a80425fb' minirun debian grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status
run 0 '^Seccomp:[[:space:]]*2' minirun debian grep ^Seccomp /proc/self/status
run 0 '^Seccomp:[[:space:]]*0' minirun --seccomp unconfined debian grep Seccomp: /proc/self/status

say 'A profile that gates the chown family behind CAP_AUDIT_CONTROL. Without it useradd fails.'
run 1 'useradd: failure while writing changes to /etc/passwd' minirun --seccomp "$profile" debian useradd knrt10

say 'Why that is, and what would help:'
run 0 'to allow it +--cap-add CAP_AUDIT_CONTROL' minirun seccomp explain --profile "$profile" fchown

say 'With the capability all is well.'
run 0 'root root .* a$' minirun --cap-add CAP_AUDIT_CONTROL --seccomp "$profile" debian sh -c \
    'useradd -m knrt10 && id -u knrt10 && touch a && ls -l a && chown knrt10 a && ls -l a'

say 'File capabilities survive: ping has its own.'
# shellcheck disable=SC2016 # for the container's shell
run 0 'cap_net_raw' minirun debian sh -c 'getcap $(which ping)'

say 'All of this worked. A shell of your own: minirun -it debian bash'
