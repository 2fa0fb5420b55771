#!/bin/sh
# session.sh DIR: starts a control plane and a kubelet beside containerd, and tests Pods; see test.sh.
set -eu
dir=$1
here=$(realpath "$(dirname "$0")")
trap 'status=$?; [ $status = 0 ] || tail -n 5 "$dir"/*.log; exit $status' EXIT
trap 'exit 1' TERM
cd "$dir"

ip link add node type bridge
ip address add 192.0.2.1/24 dev node
ip link set node up
ip route add default via 192.0.2.2
mount --make-rshared /
openssl genrsa -out accounts.key 2048 2>/dev/null
token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
echo "$token,admin,admin,system:masters" >tokens
cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: $token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
CONFIG
cat >kubelet.yaml <<CONFIG
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
resolvConf: /dev/null
seccompDefault: true
evictionHard: {imagefs.available: 0%, nodefs.available: 0%, memory.available: 1Mi}
imageGCHighThresholdPercent: 100
CONFIG
export KUBECONFIG="$dir/kubeconfig"

etcd --data-dir etcd >etcd.log 2>&1 &
kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=192.0.2.1 --cert-dir=certificates --kubelet-preferred-address-types=InternalIP \
	--service-cluster-ip-range=198.51.100.0/24 --authorization-mode=AlwaysAllow --token-auth-file=tokens \
	--service-account-issuer=https://127.0.0.1:6443 --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
	--disable-admission-plugins=ServiceAccount >apiserver.log 2>&1 &
# until_done SECONDS COMMAND...: repeats a command until it succeeds.
until_done() {
	seconds=$1
	shift
	for _ in $(seq "$((seconds * 5))"); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	echo "still fails after $seconds s: $*" >&2
	return 1
}
until_done 120 kubectl get --raw /readyz
kube-controller-manager --kubeconfig=kubeconfig --leader-elect=false --service-account-private-key-file=accounts.key >controllers.log 2>&1 &
kube-scheduler --kubeconfig=kubeconfig --leader-elect=false >scheduler.log 2>&1 &
kubelet --config=kubelet.yaml --kubeconfig=kubeconfig --root-dir="$dir/kubelet" --hostname-override=node --node-ip=192.0.2.1 >kubelet.log 2>&1 &
kubelet=$!
until_done 120 sh -c "kill -0 $kubelet || kill $$; kubectl wait --for=condition=Ready node/node --timeout=5s"

# is WANT WHAT GOT
is() {
	[ "$1" = "$3" ] || { echo "FAIL: $2: $3, not $1"; exit 1; }
	echo "ok: $2"
}
until_done 30 kubectl apply -f "$here/cluster.yaml" # the RuntimeClass may not be known at once
kubectl rollout status deployment/web --timeout=180s >/dev/null || { kubectl describe pods; exit 1; }
is 3 'replicas with a readiness probe, a postStart hook and an init container' "$(kubectl get deployment web -o 'jsonpath={.status.readyReplicas}')"
is init 'exec sees what the init container wrote' "$(kubectl exec deployment/web -- cat /shared/init)"
is hook 'what the hook wrote' "$(kubectl exec deployment/web -- cat /shared/hook)"
is 'Seccomp:	2' 'exec is under the default filter' "$(kubectl exec deployment/web -- grep Seccomp: /proc/self/status)"
is 'in' "exec's standard input" "$(echo in | kubectl exec -i deployment/web -- cat)"
kubectl exec deployment/web -- sh -c 'exit 7' 2>/dev/null && status=0 || status=$?
is 7 "exec's status" "$status"
is ready 'log' "$(kubectl logs deployment/web -c web | head -n 1)"
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/explained --timeout=60s >/dev/null || { kubectl describe pod explained; exit 1; }
kubectl logs pod/explained >log
grep -q 'unshare.*CLONE_NEWUSER' log || { echo 'FAIL: the denied call is not in the log:'; cat log; exit 1; }
echo "ok: the log explains a denied call: $(grep -m 1 CLONE_NEWUSER log)"
until_done 120 sh -c 'kubectl get pod unhealthy -o "jsonpath={.status.containerStatuses[0].restartCount}" | grep -q "[1-9]"'
echo 'ok: a container whose liveness probe fails is restarted'
kubectl get pod plain -o 'jsonpath={.spec.runtimeClassName}' | grep -q . && exit 1
kubectl wait --for=condition=Ready pod/plain --timeout=60s >/dev/null
echo 'ok: a Pod without a RuntimeClass, which runc runs'
kubectl delete --wait --timeout=120s -f "$here/cluster.yaml" >/dev/null
until_done 60 sh -c '! ctr -n k8s.io tasks list -q | grep -q .'
echo 'ok: deleted, and nothing runs'
