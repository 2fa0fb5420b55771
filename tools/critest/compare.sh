#!/bin/sh
# compare.sh RUNTIME: runs critest of cri-tools against Debian's containerd, with runc and with RUNTIME, which is
# minirun-runtime, at the same time. It fails if RUNTIME fails a test that runc passes. Arguments after RUNTIME are critest's:
# -ginkgo.focus 'exec'.
#
# These fail with both: the image with a digest, which is another's; StopPodSandbox and StopContainer of what does not exist,
# which containerd 1.6 refuses; and a masked ls, which the shell of Debian's busybox does not look for in a file.
set -eu
runtime=$(realpath -s "$1")
shift
here=$(realpath "$(dirname "$0")")
build=$(realpath -m "${BUILD:-$here/../../build/critest}")
mkdir -p "$build"
(cd "$here" && unset GOFLAGS && go test -c -o "$build/critest" sigs.k8s.io/cri-tools/cmd/critest)
"$here/../cri/images.sh" "$(dirname "$runtime")/../minirun" "$build/../cri-images"

# session NAME RUNTIME [FLAG...]: critest with a runtime, to NAME.log, and its verdicts, one a line, to NAME.tests
session() {
	name=$1 tested=$2
	shift 2
	rm -rf "$build/$name.xml" "${build:?}/$name"
	"$here/../cri/session.sh" "$tested" "$build/../cri-images" "$build/$name" \
		timeout 1200 "$build/critest" -ginkgo.no-color -ginkgo.junit-report "$build/$name.xml" "$@" >"$build/$name.log" 2>&1 || true
	sed -n 's/.*<testcase name="\([^"]*\)".* status="\([a-z]*\)".*/\2 \1/p' "$build/$name.xml" | grep -v ^skipped | sort >"$build/$name.tests"
}
session runc "$(command -v runc)" "$@" &
session minirun "$runtime" "$@"
wait

for name in runc minirun; do
	echo "$name: $(grep -c ^passed "$build/$name.tests") passed, $(grep -vc ^passed "$build/$name.tests") not"
	grep -v ^passed "$build/$name.tests" | sed 's/^/  /' || true
done
grep -q ^passed "$build/runc.tests" || { echo "runc passed nothing: see $build/runc.log"; exit 1; }
grep ^passed "$build/runc.tests" | grep -vxFf "$build/minirun.tests" >"$build/worse" || exit 0
echo "minirun does not pass:"
cat "$build/worse"
exit 1
