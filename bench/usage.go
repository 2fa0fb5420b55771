package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// usage is what processes have of the machine while their container runs.
type usage struct {
	own, resident int // KiB: anonymous memory, its shared pages in part; all memory
	threads       int
}

// usageOf adds up a process and its descendants that are not in the container.
func usageOf(pid int) (sum usage, err error) {
	if !ownNamespace(pid) {
		return usage{}, nil
	}
	values, err := numbers(fmt.Sprintf("/proc/%d/smaps_rollup", pid), fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	sum = usage{values["Pss_Anon"], values["Rss"], values["Threads"]}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return usage{}, err
	}
	for _, task := range tasks {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			return usage{}, err
		}
		for _, child := range strings.Fields(string(children)) {
			number, err := strconv.Atoi(child)
			if err != nil {
				return usage{}, err
			}
			more, err := usageOf(number)
			if err != nil {
				return usage{}, err
			}
			sum.own += more.own
			sum.resident += more.resident
			sum.threads += more.threads
		}
	}
	return sum, nil
}

// numbers reads lines like "Rss: 12 kB".
func numbers(paths ...string) (map[string]int, error) {
	values := map[string]int{}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			name, rest, _ := strings.Cut(lines.Text(), ":")
			if fields := strings.Fields(rest); len(fields) > 0 {
				if n, err := strconv.Atoi(fields[0]); err == nil {
					values[name] = n
				}
			}
		}
		_ = file.Close()
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return values, nil
}
