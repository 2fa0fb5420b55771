package launcher

/*
#include <stdlib.h>
#include "wait.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/jsonlog"
)

// These are for tests, which cannot use cgo.

// cLog is the log of a waiting launcher (wait_log.c), of which a process has one.
type cLog struct{ path *C.char }

func beginCLog(path string, l jsonlog.Limits) (cLog, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return cLog{}, err
	}
	log := cLog{C.CString(path)}
	C.log_begin(log.path, C.int(fd), C.int64_t(l.Size), C.int(l.Files))
	return log, nil
}

// write adds what was written to stdout or stderr.
func (cLog) write(stream string, data string) {
	number := C.int(C.STREAM_OUT)
	if stream == "stderr" {
		number = C.STREAM_ERR
	}
	for len(data) > 0 {
		n := min(len(data), C.STREAM_DATA)
		now := timespec(time.Now())
		C.log_write(number, (*C.char)(unsafe.Pointer(unsafe.StringData(data))), C.size_t(n), &now)
		data = data[n:]
	}
}

func (log cLog) end() {
	now := timespec(time.Now())
	C.log_end(&now)
	C.free(unsafe.Pointer(log.path))
}

// cLogEntry returns a line of the log.
func cLogEntry(text, stream string, at time.Time) []byte {
	line, name := make([]byte, 6*len(text)+128), C.CString(stream)
	defer C.free(unsafe.Pointer(name))
	when := timespec(at)
	n := C.log_entry((*C.char)(unsafe.Pointer(unsafe.SliceData(line))), (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text)), name, &when)
	return line[:n]
}

func timespec(t time.Time) C.struct_timespec {
	return C.struct_timespec{tv_sec: C.time_t(t.Unix()), tv_nsec: C.long(t.Nanosecond())}
}
