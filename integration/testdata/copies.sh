#!/bin/sh
# What cp copies where, by the rules of docker cp: $docker is docker or minirun. Errors are
# worded differently, so only whether there is one is printed.
: "${docker:?}"
cd "$(mktemp -d)" || exit 1
mkdir -p src/sub; echo f >src/f; echo s >src/sub/s; ln -s f src/link; ln -s /etc/hostname src/abs; ln src/f src/hard
chmod 4755 src/sub/s; mkfifo src/fifo; echo one >file; ln -s file flink; touch -d 2001-02-03T04:05:06 src/f
$docker run -d --name copies --network none -v "$PWD/src:/bound" debian sh -c 'mkdir -p /d/e; echo x >/d/x; ln -s /d /ld
  ln -s x /d/lx; ln -s /nowhere /dang; ln -s /etc/passwd /d/pw; ln -s ../../../../../etc/passwd /up; touch /ready; sleep 1000' >/dev/null
until $docker exec copies test -e /ready; do sleep 0.05; done

cp_() { printf '%s: ' "cp $*"; if $docker cp "$@" 2>/dev/null; then echo ok; else echo failed; fi; }
inside() { $docker exec copies sh -c "cd $1 && find . -printf '%P %y %m %U:%G %l\n' | sort; cd /; cat /d/x"; }
here() { (cd "$1" && find . -printf '%P %y %m %U:%G %l\n' | sort); }

cp_ src copies:/new; inside /new
cp_ src copies:/d; inside /d
cp_ src/. copies:/d/e; inside /d/e
cp_ src/ copies:/tmp/; inside /tmp
cp_ file copies:/tmp/file2; cp_ file copies:/nosuch/; cp_ file copies:/nosuch/x; cp_ nosuch copies:/tmp; cp_ src copies:/d/x
cp_ flink copies:/tmp/; cp_ -L flink copies:/tmp/fl; cp_ file copies:/d/lx; cp_ file copies:/ld/; inside /tmp; inside /d
cp_ file copies:/dang; cp_ src copies:/ld/; cp_ file copies:rel; cp_ file copies:/bound/f; cp_ src copies:/bound/f; inside /bound
$docker exec copies sh -c 'ls -d /[a-z]*; cat /nowhere /rel; readlink /dang'
cp_ file copies:/etc; cp_ -a file copies:/arch; cp_ file copies:; cp_ file copies; cp_ copies:/a copies:/b; cp_ nosuch:/x .
$docker exec copies stat -c '%Y %n' /new/f

cp_ copies:/d out1; here out1; mkdir out2; cp_ copies:/d out2; here out2; mkdir out3; cp_ copies:/d/. out3; here out3
cp_ copies:/d/x out3/y; cp_ copies:/nosuch out3; cp_ copies:/d/x nosuch/; cp_ copies:/d file; cp_ copies:/ld ldcopy; here ldcopy/
cp_ -L copies:/ld ldcopy2; here ldcopy2; cp_ copies:/ld/ out4; here out4; cp_ copies:/d/pw pw; readlink pw
cp_ -L copies:/d/pw pw2; head -n 1 pw2; cp_ -L copies:/up pw3; head -n 1 pw3; cp_ copies:/etc/hostname name

$docker cp copies:/d - | tar t | sort; $docker cp copies:/d/. - | tar t | sort; $docker cp copies:/d/x - | tar t
tar c src | cp_ - copies:/srv; inside /srv; tar c src | cp_ - copies:/d/x; tar c src | cp_ - copies:/nosuch

$docker pause copies >/dev/null; cp_ copies:/d/x paused; cat paused; cp_ file copies:/d/paused; $docker unpause copies >/dev/null
$docker kill copies >/dev/null; $docker wait copies >/dev/null
cp_ copies:/d/x stopped; cat stopped; cp_ file copies:/late; cp_ copies:/late late; cat late; cp_ copies:/nosuch late
$docker rm copies
