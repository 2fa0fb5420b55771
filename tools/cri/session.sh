#!/bin/sh
# session.sh RUNTIME REGISTRY DIR COMMAND...: runs COMMAND beside a containerd whose CRI plugin uses RUNTIME, by the name
# of "tested" and by default, or runc where $DEFAULT is runc. It has the images of images.sh, which made REGISTRY, and network,
# mount and PID namespaces of its own. All ends with COMMAND. DIR is for containerd's files, and DIR/etc lies over /etc.
set -eu
if [ -z "${MINIRUN_CRI_SESSION:-}" ]; then
	export MINIRUN_CRI_SESSION=1
	exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" "$@"
fi
runtime=$1 registry=$2 dir=$(realpath -m "$3")
here=$(realpath "$(dirname "$0")")
shift 3
mkdir -p "$dir/etc" "$dir/net.d" "$dir/certs.d/_default" /var/lib/cni
mount -t overlay -o lowerdir="$dir/etc:/etc" etc /etc
mount -t tmpfs run /run
mount -t tmpfs cni /var/lib/cni
ip link set lo up

cat >"$dir/net.d/10-bridge.conflist" <<CNI
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CNI
cat >"$dir/certs.d/_default/hosts.toml" <<TOML
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
TOML
cat >"$dir/config.toml" <<TOML
version = 2
root = "$dir/root"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.6"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$dir/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "${DEFAULT:-tested}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["org.minirun.*"]
    container_annotations = ["org.minirun.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
      BinaryName = "$runtime"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
TOML
REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$registry docker-registry serve "$here/registry.yml" >"$dir/registry.log" 2>&1 &
containerd -c "$dir/config.toml" >"$dir/containerd.log" 2>&1 &
for _ in $(seq 600); do
	ctr version >/dev/null 2>&1 && grep -q 'listening on' "$dir/registry.log" && break
	sleep 0.1
done
ctr version >/dev/null || { tail "$dir/containerd.log" "$dir/registry.log"; exit 125; }
exec "$@"
