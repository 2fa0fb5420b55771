#!/bin/sh
# licenses.sh DIR: copies the license and notice files of every module that is
# linked into the binary to DIR/MODULE@VERSION. A module without a license file
# is an error.
set -eu
out=$1
rm -rf "$out"
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' . | sort -u |
    while read -r module dir; do
        mkdir -p "$out/$module"
        find "$dir" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'notice*' -o -iname 'copying*' \) \
            -exec install -m644 -t "$out/$module" {} +
        if ! find "$out/$module" -type f -not -iname 'notice*' | grep -q .; then
            echo "licenses: $module has no license file" >&2
            exit 1
        fi
    done
go_root=$(go env GOROOT)
mkdir -p "$out/go"
install -m644 -t "$out/go" "$go_root/LICENSE"
for package in libseccomp-dev musl-dev; do
    mkdir -p "$out/$package"
    install -m644 -t "$out/$package" "/usr/share/doc/$package/copyright"
done
