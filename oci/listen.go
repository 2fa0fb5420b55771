package oci

import (
	"fmt"
	"os"
	"strconv"
)

// activated returns how many files of socket activation (sd_listen_fds(3)) are meant for
// this process: the command gets them.
func activated() int {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// listenEnv returns the environment that names the files of socket activation to the
// command.
func listenEnv(files []*os.File, preserved int) []string {
	if n := len(files) - preserved; n > 0 {
		return []string{fmt.Sprintf("LISTEN_FDS=%d", n), "LISTEN_PID=1"}
	}
	return nil
}
