#!/bin/sh
# images.sh MINIRUN DIR: makes the images that critest and Kubernetes ask for, of Debian's busybox and nginx, in a
# registry's directory DIR. Nothing of them comes from another registry, which may not be reachable.
set -eu
minirun=$1 dir=$(realpath -m "$2")
here=$(realpath "$(dirname "$0")")
stamp=$dir/made-by-$(cat "$here"/images.sh "$here"/push.sh "$here"/*.c | sha256sum | cut -c1-12)
[ -e "$stamp" ] && exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
rm -rf "$dir"
mkdir -p "$dir"

# The first mirror of Debian itself that apt knows; none, as on Ubuntu: mmdebstrap's own default.
# shellcheck disable=SC2016 # apt expands these
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }')
extract() {
	mmdebstrap --quiet --mode=root --variant=extract --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		--dpkgopt='path-exclude=/usr/share/*' --include="$1" bookworm "$2" ${mirror:+"$mirror"}
}
# A root with busybox's tools, and one that has nginx too. Nothing of it has run.
extract busybox-static "$work/busybox"
extract busybox-static,nginx-light "$work/nginx"
for program in nnp pause; do
	gcc -static -o "$work/busybox/$program" "$here/$program.c"
done
chmod 4755 "$work/busybox/nnp"
for root in busybox nginx; do
	root=$work/$root
	mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root" "$root/run"
	chmod 1777 "$root/tmp"
	for applet in $("$root/bin/busybox" --list); do
		[ -e "$root/bin/$applet" ] || ln "$root/bin/busybox" "$root/bin/$applet" # a test masks one of them
	done
	# Debian's busybox lacks these.
	printf '%s\n' '#!/bin/sh' 'exec pidof "$@"' >"$root/bin/pgrep"
	printf '%s\n' '#!/bin/sh' 'exec cat /proc/sysvipc/shm' >"$root/bin/ipcs"
	chmod 755 "$root/bin/pgrep" "$root/bin/ipcs"
	printf '%s\n' root:x:0:0:root:/root:/bin/sh www-data:x:33:33:www-data:/var/www:/bin/false \
		nobody:x:65534:65534::/:/bin/false default-user:x:1000:1000::/home:/bin/sh >"$root/etc/passwd"
	printf '%s\n' root:x:0: www-data:x:33: nobody:x:65534: default-user:x:1000: group-defined-in-image:x:50000:default-user >"$root/etc/group"
done
# server PORT: nginx's configuration
server() {
	echo 'daemon off; user www-data; pid /var/run/nginx.pid; error_log stderr; events {}'
	echo "http { access_log /dev/stdout; server { listen $1; location / { return 200 'Welcome'; } } }"
}
server 80 >"$work/nginx/etc/nginx/nginx.conf"
server 12003 >"$work/nginx/etc/nginx/hostnet.conf"
mkdir -p "$work/nginx/var/run" "$work/nginx/var/lib/nginx" "$work/nginx/var/log/nginx"

# The registry has a network of its own, where no other has its port.
unshare --net "$here/push.sh" "$minirun" "$work" "$dir"
touch "$stamp"
