#!/bin/sh
# compare.sh RUNTIME: runs opencontainers/runtime-tools' validation suite with runc and
# with RUNTIME, which minirun-runtime is, in one run, and prints the assertions of each
# program. It fails if RUNTIME fails an assertion, or a program, that runc passes.
#
# Two programs do not count, since libcontainer of runc 1.5 refuses what older ones let pass:
# linux_devices has a FIFO with a device number, and mounts a bind mount with options of tmpfs.
#
# The programs leave mounts behind: the suite runs in a mount namespace of its own.
set -eu
[ -n "${OWN_MOUNTS:-}" ] || OWN_MOUNTS=1 exec unshare -m "$0" "$@"
runtime=$(realpath -s "$1")
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

# assertions RUNTIME PROGRAM: the names of what passes and of what does not, one a line
assertions() {
	RUNTIME=$1 timeout 60 "bin/$2" 2>&1 | sed -n 's/^ *\(ok\|not ok\) [0-9]* *-* */\1 /p' | sort | uniq -c | sed 's/^ *//'
}

worse=0
for program in bin/*; do
	program=${program##*/}
	assertions runc "$program" >out/runc
	assertions "$runtime" "$program" >out/minirun
	ok=$(grep -c ' ok ' out/minirun || true)
	ours=$(awk '$2 == "not" {n += $1} END {print n + 0}' out/minirun)
	theirs=$(awk '$2 == "not" {n += $1} END {print n + 0}' out/runc)
	echo "$program: runc: $(awk '$2 == "ok" {n += $1} END {print n + 0}' out/runc) ok, $theirs not; minirun: $(awk '$2 == "ok" {n += $1} END {print n + 0}' out/minirun) ok, $ours not"
	case $program in
	linux_devices | mounts) continue ;;
	esac
	if [ "$ours" -gt "$theirs" ] || { [ "$ok" = 0 ] && grep -q ' ok ' out/runc; }; then
		worse=$((worse + 1))
		diff -u out/runc out/minirun | sed 's/^/  /' | head -n 20 || true
	fi
done
echo "$worse programs in which minirun passes less than runc"
[ "$worse" = 0 ]
