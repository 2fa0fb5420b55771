#!/bin/sh
# compare.sh RUNTIME [PROGRAM...]: runs opencontainers/runtime-tools' validation suite, or
# PROGRAMs of it, with runc and with RUNTIME, which minirun-runtime is, in one run, and prints
# the assertions of each program. It fails if RUNTIME does not pass an assertion that runc passes.
#
# Two programs do not count, since libcontainer of runc 1.5 refuses what older ones let pass:
# linux_devices has a FIFO with a device number, and mounts a bind mount with options of tmpfs.
#
# The programs leave mounts behind: the suite runs in a mount namespace of its own.
set -eu
[ -n "${OWN_MOUNTS:-}" ] || OWN_MOUNTS=1 exec unshare -m "$0" "$@"
runtime=$(realpath -s "$1")
shift
here=$(realpath "$(dirname "$0")")
build=$(realpath -m "${BUILD:-$here/../../build/validation}")
export TMPDIR="$build/tmp"
rm -rf --one-file-system "$TMPDIR"
mkdir -p "$build/bin" "$build/out" "$TMPDIR"
cd "$here"
suite=github.com/opencontainers/runtime-tools
unset GOFLAGS # no tags of minirun's
go build -o "$build/bin/" $suite/validation/...
CGO_ENABLED=0 go build -o "$build/runtimetest" $suite/cmd/runtimetest
cd "$build"
cp -f "$(go -C "$here" list -m -f '{{.Dir}}' $suite)"/rootfs-*.tar.gz .

# In process_rlimits a container has 1 GiB of addresses. Debian's runc makes the filter there, and fails now and then with
# "cannot allocate memory", for malloc(3) has an arena for each thread. Its init gets this variable, and so has fewer.
export GOMAXPROCS=1

# assertions RUNTIME PROGRAM: "ok NAME" or "not ok NAME", one a line
assertions() {
	RUNTIME=$1 timeout 60 "bin/$2" 2>&1 | sed -n 's/^ *\(ok\|not ok\) [0-9]* *-* */\1 /p' | LC_ALL=C sort
}
# count FILE: how many assertions pass, and how many do not
count() {
	echo "$(grep -c '^ok ' "$1" || true) ok, $(grep -c '^not ' "$1" || true) not"
}

[ $# -gt 0 ] || set -- bin/*
worse=0
for program; do
	program=${program##*/}
	assertions runc "$program" >out/runc
	assertions "$runtime" "$program" >out/minirun
	echo "$program: runc: $(count out/runc); minirun: $(count out/minirun)"
	case $program in
	linux_devices | mounts) continue ;;
	esac
	if LC_ALL=C comm -23 out/runc out/minirun | grep '^ok ' >out/worse; then
		worse=$((worse + 1))
		sed 's/^ok /  only with runc: /' out/worse | head -n 20
	fi
done
echo "$worse programs in which minirun does not pass all that runc passes"
[ "$worse" = 0 ]
