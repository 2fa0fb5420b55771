#!/bin/sh
# apidiff.sh BASE: prints how the public packages differ from those of the commit
# BASE. Nothing is compatible before version 1; the difference is for the reader
# of a change, so its status says only whether it could be made.
set -eu
base=$(git rev-parse --verify "$1^{commit}")
tree=$(mktemp -d)
trap 'git worktree remove --force "$tree"' EXIT
git worktree add --quiet --detach "$tree" "$base"
for package in $(go list ./seccomp/...); do
    dir=${package#github.com/minirun/minirun/}
    case $package in */gen | */oracle | */internal/*) continue ;; esac
    if ! [ -d "$tree/$dir" ]; then
        printf '%s\n  new\n' "$package"
        continue
    fi
    (cd "$tree" && go tool -modfile="$OLDPWD/tools/go.mod" apidiff -w "$tree/base.api" "$package")
    changes=$(go tool -modfile=tools/go.mod apidiff "$tree/base.api" "$package")
    [ -z "$changes" ] || printf '%s\n%s\n' "$package" "$changes"
done
for package in $(cd "$tree" && go list ./seccomp/...); do
    case $package in */gen | */oracle | */internal/*) continue ;; esac
    [ -d "${package#github.com/minirun/minirun/}" ] || printf '%s\n  removed\n' "$package"
done
