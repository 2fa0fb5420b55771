package launcher

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/memfd"
)

// reaperPath is where init finds the memfd of newReaper, whose number follows those of
// [arm.Page]. It is closed when init becomes the reaper.
const reaperPath = "/proc/self/fd/5"

// newReaper copies minirun's own binary to a sealed memfd, for --init. So the container's
// files do not show it, and the container cannot change the host's binary through it. The
// binary must be static, since the image need not have a dynamic loader.
func newReaper() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	if dynamic, err := hasInterpreter(self); err != nil {
		return nil, err
	} else if dynamic {
		return nil, hint.With(&Error{Op: "--init", Err: errors.New("this minirun is linked dynamically and cannot run inside an image")}, "'make build' links it statically")
	}
	reaper, err := memfd.Create("minirun-init", true)
	if err != nil {
		return nil, err
	}
	if err := fillAndSeal(reaper, self); err != nil {
		reaper.Close()
		return nil, fmt.Errorf("copy minirun into memory: %w", err)
	}
	return reaper, nil
}

func fillAndSeal(to, from *os.File) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Chmod(0o755); err != nil {
		return err
	}
	return memfd.Seal(to)
}

func hasInterpreter(f *os.File) (bool, error) {
	file, err := elf.NewFile(f)
	if err != nil {
		return false, err
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}
