package integration

import "strings"

type podmanScript struct{ name, script string }

// underPodman are sessions with Podman; NAME is a name that is free.
var underPodman = []podmanScript{
	{"run", `run debian sh -c 'id; pwd; env | sort; exit 7'`},
	{"output and input", `echo in | run -i debian sh -c 'cat; echo out; echo err >&2'`},
	{"terminal", `mkfifo in; script -qec 'podman run --rm -it --network none debian sh -c "tty; test -t 0 && test -t 1 && echo terminal"' /dev/null <>in
bg -t --name NAME debian sh -c 'tty; sleep 1000'; until logs NAME | grep -q pts; do :; done; logs NAME; podman exec -t NAME tty; remove NAME`},
	{"user", `run -u 1000:44 --group-add 29 debian sh -c 'id; echo $HOME'; run -u nobody --umask 027 debian sh -c 'echo $HOME; umask'`},
	{"capabilities", `run --cap-add SYS_ADMIN --cap-drop CHOWN debian grep Cap /proc/self/status; run -u 5 --cap-add KILL debian grep Cap /proc/self/status`},
	{"default filter", `run debian sh -c 'grep Seccomp: /proc/self/status; unshare -U true; mount -t tmpfs x /mnt; chroot / true && echo chroot'`},
	{"own filter", `echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' >p.json
run --security-opt seccomp=p.json debian mkdir /x; run --security-opt seccomp=unconfined debian grep Seccomp: /proc/self/status`},
	{"not found", `run debian /no/such; run debian nosuch; run debian /etc/passwd; run debian /etc`},
	{"working directory", `run -w /etc debian pwd; run -w /etc/passwd debian pwd`},
	{"read-only and tmpfs", `run --read-only --tmpfs /t:size=1m debian sh -c 'touch /x; touch /t/x && df -k /t | tail -n 1'`},
	{"mounts", `mkdir -p d; echo data >d/f; run -v $PWD/d:/m:ro -v $PWD/d/f:/f -v $PWD/d:/o:O debian sh -c 'cat /m/f /f; touch /m/x; touch /o/x && ls /o'; ls d`},
	{"mapped mounts", `mkdir -p d; touch d/f; run --uidmap 0:100000:5000 -v $PWD/d:/m:idmap debian sh -c 'stat -c %u:%g /m/f; touch /m/own'; stat -c %u:%g d/own`},
	{"root file system", `podman unshare true 2>&1 | grep -c x; c=$(podman create --network none debian true); r=$(podman mount $c); run --rootfs $r:O cat /etc/debian_version; podman umount $c >/dev/null; remove $c`},
	{"kernel parameters", `run --sysctl kernel.shmmax=12345 --shm-size 1m debian sh -c 'cat /proc/sys/kernel/shmmax; df -k /dev/shm | tail -n 1'`},
	{"create, start, wait", `create --name NAME debian sh -c 'echo started; exit 9'; inspect '{{.State.Status}}' NAME; p start -a NAME; p wait NAME; p start NAME; p wait NAME; logs NAME; remove NAME`},
	{"files", `exec 3</etc/hostname; run --preserve-fds 1 debian sh -c 'ls -l /proc/self/fd | grep -c hostname'`},
	{"stop in the end", `bg --name NAME debian sh -c 'trap "" TERM; echo ready; while :; do sleep 0.05; done'
until logs NAME | grep -q ready; do :; done; p stop -t 0 NAME 2>/dev/null; p wait NAME; remove NAME`},
	{"restart", `bg --name NAME debian sh -c 'echo up; sleep 1000'; p restart -t 0 NAME; inspect '{{.State.Status}}' NAME; until test $(logs NAME | wc -l) = 2; do :; done; remove NAME`},
	{"restart policy", `bg --name NAME --restart on-failure:2 debian sh -c 'echo up; exit 1'; until test $(logs NAME | wc -l) = 3; do :; done; p wait NAME; inspect '{{.RestartCount}}' NAME; remove NAME`},
	{"attach", `bg -i --name NAME debian sh -c 'read x; echo got $x; exit 3'; echo word | p attach NAME; remove NAME`},
	{"copy", `bg --name NAME debian sleep 1000; echo in >f; p cp f NAME:/f; x NAME cat /f; p cp NAME:/etc/debian_version v; test -s v && echo copied; remove NAME`},
	{"list", `bg --name NAME debian sleep 1000; podman ps --filter name=NAME --format '{{.Names}} {{.Command}}'; remove NAME; podman ps -a --filter name=NAME --format '{{.Names}}'`},
	{"other containers' namespaces", `bg --name NAME --ipc shareable debian sleep 1000; podman run --rm --pid container:NAME --ipc container:NAME --network container:NAME debian sh -c 'cat /proc/1/comm'; remove NAME`},
	{"host's namespaces", `podman run --rm --pid host --uts host --ipc host --network host --cgroupns host debian sh -c 'readlink /proc/self/ns/uts; test -d /proc/2/ && echo many'`},
	{"init", `run --init debian sh -c 'cat /proc/1/comm; exit 3'`},
	{"health", `bg --name NAME --health-cmd 'test -e /ok' --health-interval disable debian sh -c 'sleep 1000'
p healthcheck run NAME; x NAME touch /ok; p healthcheck run NAME; inspect '{{.State.Health.Status}}' NAME; remove NAME`},
	{"hooks", `mkdir h; for s in prestart createRuntime createContainer poststart poststop; do printf '{"version":"1.0.0","hook":{"path":"/bin/sh","args":["sh","-c","cat >/dev/null; echo %s >>%s/%s.log"]},"when":{"always":true},"stages":["%s"]}' $s $PWD $s $s >h/$s.json; done
podman --hooks-dir $PWD/h run --rm --network none debian true; cat *.log`},
	{"time limit", `run --timeout 1 debian sleep 1000`},
	{"notification", `run --sdnotify conmon debian env | grep -c NOTIFY`},
	{"checkpoint", `bg --name NAME debian sleep 1000; podman container checkpoint NAME 2>/dev/null || echo refused; remove NAME`},
}

// podmanCgroups are those that depend on the version of cgroups and on who manages them.
var podmanCgroups = []podmanScript{
	// Mounts and /dev/core are left out: these are as with runc, TestUnderDocker compares them.
	// So is pids.max: crun makes a cgroup below systemd's scope, and so its containers do not see systemd's own limit.
	{"inside", `run --name NAME debian sh -c '` + strings.ReplaceAll(inside, "'", `'\''`) + `' | grep -v -e ^mount -e core -e ^total -e ^pids.max`},
	{"privileged", `run --privileged --cap-drop SYS_RESOURCE debian sh -c 'grep -E "Seccomp:|Cap" /proc/self/status; ls /dev' | grep -v ^core`},
	// cpu.weight is left out: runtimes of 2025 and later compute it from --cpu-shares in another way (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
	{"limits", `run -m 64m --cpus 0.5 --cpu-shares 512 --ulimit nofile=100:200 --ulimit nproc=1024:1024 --oom-score-adj 300 debian sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes cpu.max cpu/cpu.cfs_quota_us cpu/cpu.shares 2>/dev/null; ulimit -n; cat /proc/self/oom_score_adj'
run --pids-limit 99 debian sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null'; run --pids-limit -1 debian sh -c 'sleep 0 & wait; echo $?'`},
	{"out of memory", `run --name NAME -m 32m --memory-swap 32m debian sh -c 'x=$(head -c 200m /dev/zero | tr "\\0" x)'`},
	{"devices", `run --device /dev/null:/dev/nothing:r debian sh -c 'ls -l /dev/nothing | cut -c 1-10; head -c 1 /dev/nothing; mknod /x c 1 5 && head -c 1 /x | wc -c'`},
	{"exec", `bg --name NAME --env A=1 debian sleep 1000
x NAME sh -c 'echo $A; id; cat /proc/1/comm; grep -E "Seccomp:|Cap" /proc/self/status; exit 4'
x -u 7 -w /etc -e B=2 NAME sh -c 'id; pwd; echo $B'
x --privileged NAME grep Cap /proc/self/status
echo in | x -i NAME cat
x NAME nosuch; x NAME /etc/passwd; x -w /nosuch NAME pwd
podman exec -d NAME sh -c 'echo >/tmp/done' >/dev/null; until podman exec NAME test -e /tmp/done; do :; done
p top NAME comm; remove NAME; x NAME true`},
	{"pause", `bg --name NAME debian sleep 1000; p pause NAME; inspect '{{.State.Status}}' NAME; x NAME true; p unpause NAME; x NAME echo again; remove NAME`},
	{"update", `bg --name NAME debian sleep 1000; p update -m 80m --memory-swap 90m --cpus 0.25 --pids-limit -1 NAME
x NAME sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes cpu.max cpu/cpu.cfs_quota_us 2>/dev/null'; remove NAME`},
	{"stop and kill", `bg --name NAME debian sh -c 'trap "echo got; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
until logs NAME | grep -q ready; do :; done; p stop NAME; p wait NAME; logs NAME; p start NAME; p kill NAME; p wait NAME; p kill NAME; remove NAME`},
	{"stats", `bg --name NAME -m 64m debian sleep 1000; p stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' NAME | sed 's/^\([0-9]*\) .* /\1 /'; remove NAME`},
	{"user namespace", `run --uidmap 0:100000:5000 --gidmap 0:200000:5000 debian sh -c 'cat /proc/self/uid_map /proc/self/gid_map; id; ls -ld /root'`},
	{"pod", `podman pod create --name NAME --network none --infra-name NAME-infra --hostname together >/dev/null
podman pod ps --filter name=NAME --format '{{.NumberOfContainers}} {{.Status}}'; p pod start NAME >/dev/null
podman run --rm --pod NAME debian sh -c 'uname -n; readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts' >own
pid=$(inspect '{{.State.Pid}}' NAME-infra); head -n 1 own; readlink /proc/$pid/ns/net /proc/$pid/ns/ipc /proc/$pid/ns/uts | diff - <(tail -n 3 own) && echo shared
podman run -d --name NAME-a --pod NAME debian sleep 1000 >/dev/null; p pod pause NAME >/dev/null; inspect '{{.State.Status}}' NAME-a; p pod unpause NAME >/dev/null
p pod stop -t 0 NAME >/dev/null; inspect '{{.State.Status}}' NAME-a; removepod NAME`},
	{"systemd", `run --systemd=always debian sh -c 'echo $container; awk "{ print \$5 }" /proc/self/mountinfo | sort -u; cat /proc/self/cgroup | sed "s/libpod-.*//"; for d in /sys/fs/cgroup /sys/fs/cgroup/systemd; do test -w $d && echo $d; done'`},
	{"cgroups", `run --cgroups no-conmon debian echo no-conmon; run --cgroupns private debian sh -c 'cut -d : -f 3 /proc/self/cgroup | sort -u'`},
	{"without cgroups", `podman run --rm --network none --cgroups disabled --cgroupns host debian cat /proc/self/cgroup | cmp - /proc/self/cgroup && echo same
podman run -d --network none --cgroups disabled --name NAME debian sleep 1000 >/dev/null; x NAME echo in; p stop -t 0 NAME; remove NAME`},
	{"no process left", `podman run --rm --network none --pid host debian bash -c 'exec -a left-NAME sleep 1234 & echo gone'; pgrep -f ^left-NAME`},
}

// underPodmanAsUser are sessions of an ordinary user's, who may make no cgroup.
var underPodmanAsUser = []struct{ name, script, want string }{
	{"run", `run debian sh -c 'id; cat /proc/self/uid_map; grep -E "Seccomp:|Cap" /proc/self/status; cut -d : -f 3 /proc/self/cgroup; unshare -U true; exit 3'; run debian nosuch`, "Seccomp:\t2\n"},
	{"exec", `bg --name NAME debian sleep 1000; x NAME id; podman exec -t NAME tty; p stop -t 0 NAME; remove NAME`, "/dev/pts/0"},
	{"own user", `run --userns keep-id debian sh -c 'id; touch /x'`, "(minirun-podman)"},
	{"without cgroups", `run --cgroups disabled debian echo in`, "in\n[0]\n"},
}

// podmanDelegated names sessions of podmanCgroups for a user to whom systemd has delegated cgroups.
var podmanDelegated = []string{"limits", "out of memory", "exec", "pause", "update", "stop and kill", "stats", "systemd", "cgroups", "no process left"}
