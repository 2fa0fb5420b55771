#!/bin/sh
# test.sh RUNTIME: a Kubernetes of one node, whose parts are built from their Go modules, runs Pods with RUNTIME, which is
# minirun-runtime: minirun is the RuntimeClass's, and runc the default. session.sh has the node, and cluster.yaml the Pods.
set -eu
runtime=$(realpath -s "$1")
here=$(realpath "$(dirname "$0")")
build=$(realpath -m "${BUILD:-$here/../../build/kubernetes}")
mkdir -p "$build/bin"
(
	cd "$here"
	unset GOFLAGS # no tags of minirun's
	export CGO_ENABLED=0
	for program in kubelet kube-apiserver kube-controller-manager kube-scheduler kubectl; do
		go build -ldflags '-s -w' -o "$build/bin/" k8s.io/kubernetes/cmd/$program
	done
	go build -ldflags '-s -w' -o "$build/bin/etcd" go.etcd.io/etcd/server/v3
)
"$here/../cri/images.sh" "$(dirname "$runtime")/../minirun" "$build/../cri-images"
rm -rf "$build/node"
mkdir -p "$build/node/etc/minirun"
echo '{"annotations": ["org.minirun.explain"]}' >"$build/node/etc/minirun/runtime.json"
export DEFAULT=runc PATH="$build/bin:$PATH"
exec timeout 900 "$here/../cri/session.sh" "$runtime" "$build/../cri-images" "$build/node" "$here/session.sh" "$build/node"
