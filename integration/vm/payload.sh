#!/bin/bash
# payload.sh [TESTS [ENGINE]]: gathers in build/vm/payload all that the suite needs on a machine without Go and without a
# network: the tree, the program, the compiled suite with the programs that it runs, and a store with the image debian.
# payload/run runs it there, or only TESTS, a regular expression. With an ENGINE the guest has all that these need.
set -euo pipefail

tests=${1:-.} engine=${2:-}

tree=$(cd "$(dirname "$0")/../.." && pwd)
payload=$tree/build/vm/payload
store=$tree/build/integration

export MINIRUN_ROOT=$store
"$tree/minirun" images | grep -q '^debian:latest ' || "$tree/minirun" bootstrap --quiet debian

rm -rf "$payload"
mkdir -p "$payload/store"
tar -C "$tree" --exclude=./build --exclude=./.git --exclude=./.vagrant -cf - . | tar -C "$payload" -xf -
# Static, as the program is: both must have the same libseccomp, whatever the guest has.
go test -C "$tree" -c -ldflags '-linkmode external -extldflags -static' \
  -o "$payload/integration/integration.test" ./integration
# So are the programs that tests run: a guest has no compiler.
mkdir "$payload/programs"
for source in "$tree"/integration/testdata/observe/*.c; do
  gcc -O1 -Wall -static -o "$payload/programs/$(basename "$source" .c)" "$source"
done
for module in seccompagent runc; do
  (
    export GOFLAGS=
    cd "$tree/tools/$module"
    go list tool | xargs go build -tags=seccomp,netgo,osusergo -ldflags '-linkmode external -extldflags -static -s' -o "$payload/programs/"
  )
done
# Links to the store's files, which nobody writes to; with them go their extended attributes.
cp -al "$store"/{oci-layout,index.json,blobs,layers} "$payload/store/"

cat >"$payload/run" <<RUN
#!/bin/sh
tests='$tests' engine='$engine'
RUN
cat >>"$payload/run" <<'RUN'
# run [TEST-FLAG...]: the suite, as root; with minirun.part=N/M on the kernel's command line the N-th of M parts of it. A
# test that this machine cannot run fails: it has everything, and cgroup v2 unless it was booted with v1.
here=$(cd "$(dirname "$0")" && pwd)
cgroup='cgroup v2'
grep -qw systemd.unified_cgroup_hierarchy=0 /proc/cmdline && cgroup='cgroup v1'
export MINIRUN_TEST_BINARY="$here/minirun" MINIRUN_ROOT="$here/store" MINIRUN_REQUIRE="$cgroup"
export MINIRUN_TEST_PROGRAMS="$here/programs"
[ -z "$engine" ] || export CI=1
cd "$here/integration" || exit
part=$(sed -n 's,.*minirun\.part=\([0-9]*/[0-9]*\).*,\1,p' /proc/cmdline)
if [ -n "$part" ]; then
  tests=$(./integration.test -test.list "$tests" | grep '^Test' | awk "NR % ${part#*/} == ${part%/*} % ${part#*/}" | paste -s -d '|')
  if [ -z "$tests" ]; then
    echo "no test for part $part" >&2
    [ "${part%/*}" != 1 ] # the first part has one if there is any
    exit
  fi
  tests="^($tests)\$"
fi
exec ./integration.test -test.v -test.timeout=45m -test.run "$tests" "$@"
RUN
chmod 755 "$payload/run"
