#!/bin/sh
# test.sh MINIRUN DEB: installs the package in a fresh Debian container as a user
# would, uses it there, and removes it.
set -eu
minirun=$1 deb=$(realpath "$2")
"$minirun" --pull never -v "$deb:/minirun.deb:ro" debian sh -euxc '
    apt-get install -qy --no-install-recommends /minirun.deb
    minirun version
    minirun-runtime --version
    minirun seccomp explain --cap-add CAP_SYS_ADMIN mount
    test -s /usr/share/bash-completion/completions/minirun
    test -s /usr/share/doc/minirun/licenses/libseccomp-dev/copyright
    apt-get purge -qy minirun
    test ! -e /usr/bin/minirun
    test ! -e /usr/bin/minirun-runtime
    test ! -e /usr/share/doc/minirun
'
