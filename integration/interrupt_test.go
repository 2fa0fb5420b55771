package integration

import (
	"bytes"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// ^C at any moment of a start ends it with 130 or by SIGINT, as it would end a command,
// and prints nothing. A command that already runs may ignore the signal, which prints a
// warning. The moments are spread over the time that a start takes here.
func TestInterruptedStart(t *testing.T) {
	begin := time.Now()
	if err := minirun(t, "debian", "true").Run(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begin)
	const moments = 40
	ended := map[int]int{}
	for i := range moments {
		cmd := minirun(t, "debian", "sh", "-c", "sleep 0.05")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does: the terminal signals all of them
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(whole * time.Duration(i) / moments) // the moment is the test's input
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		ignored := code == 0 && bytes.HasPrefix(stderr.Bytes(), []byte("minirun: warning: interrupt: "))
		if ended[code]++; code != 0 && code != 130 || stderr.Len() > 0 && !ignored {
			t.Errorf("after %d/%d of a start: status %d, %s", i, moments, code, stderr.Bytes())
		}
	}
	if ended[130] == 0 {
		t.Errorf("no start was interrupted: %v", ended)
	}
}
