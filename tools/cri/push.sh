#!/bin/sh
# push.sh MINIRUN ROOTS DIR: the second half of images.sh, in a network namespace. Images of the roots busybox and nginx
# go to a registry that keeps them in DIR.
set -eu
minirun=$1 work=$2 dir=$3 host=127.0.0.1:5000
here=$(realpath "$(dirname "$0")")
trap 'kill "$registry"' EXIT
trap 'exit 1' INT TERM
ip link set lo up
REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$dir docker-registry serve "$here/registry.yml" >"$work/log" 2>&1 &
registry=$!
until grep -q 'listening on' "$work/log"; do
	kill -0 $registry || { cat "$work/log" >&2; exit 1; }
	sleep 0.1
done

# push ROOT NAME CHANGE...: an image
push() {
	root=$1 name=$host/$2
	shift 2
	for change; do
		set -- "$@" --change "$change"
		shift
	done
	tar -C "$work/$root" -c . | "$minirun" --root "$work/store" import -q --change 'ENV PATH=/bin:/usr/sbin' "$@" - "$name" >/dev/null
	"$minirun" --root "$work/store" push -q "$name" >/dev/null
}

e2e=e2e-test-images staging=k8s-staging-cri-tools
push busybox pause:3.6 'ENTRYPOINT ["/pause"]'
push busybox $e2e/busybox:1.29-2 'CMD ["sh"]'
push busybox $e2e/nonewprivs:1.3 'CMD ["/nnp"]'
push busybox $staging/test-image-user-uid:latest 'CMD ["sh"]' 'USER 1002'
push busybox $staging/test-image-user-username:latest 'CMD ["sh"]' 'USER www-data'
push busybox $staging/test-image-user-uid-group:latest 'CMD ["sh"]' 'USER 1003:1004'
push busybox $staging/test-image-user-username-group:latest 'CMD ["sh"]' 'USER www-data:100'
push busybox $staging/test-image-predefined-group:latest 'CMD ["sh"]' 'USER 1000'
for name in test-image-latest:latest test-image-tag:test test-image-tag:all test-image-1:latest test-image-2:latest test-image-3:latest; do
	push busybox $staging/$name "LABEL name=$name"
done
push busybox $staging/test-image-tags:1 'LABEL name=test-image-tags'
for tag in 2 3; do # the same image
	"$minirun" --root "$work/store" tag "$host/$staging/test-image-tags:1" "$host/$staging/test-image-tags:$tag"
	"$minirun" --root "$work/store" push -q "$host/$staging/test-image-tags:$tag" >/dev/null
done
push nginx $e2e/nginx:1.14-2 'ENTRYPOINT ["nginx"]'
push nginx $e2e/httpd:2.4.39-4 'CMD ["sh", "-c", "echo httpd; exec nginx"]'
push nginx $staging/hostnet-nginx-amd64:latest 'ENTRYPOINT ["nginx", "-c", "/etc/nginx/hostnet.conf"]'
