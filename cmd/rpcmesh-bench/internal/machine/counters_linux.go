package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracingRoots are where the kernel's trace points are found, if they are mounted at all.
var tracingRoots = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// Counters count this process's system calls, by the kernel's trace points. Close them.
type Counters struct{ syscalls, futexes []*os.File }

// Count counts from now on, on all threads that there are and those that they start. It needs a mounted tracefs
// and the right to use it, which mostly means root.
func Count() (*Counters, error) {
	c := new(Counters)
	for _, p := range []struct {
		name  string
		files *[]*os.File
	}{
		{"raw_syscalls/sys_enter", &c.syscalls},
		{"syscalls/sys_enter_futex", &c.futexes},
	} {
		id, err := tracePoint(p.name)
		if err == nil {
			*p.files, err = countThreads(id)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Read returns what has been counted.
func (c *Counters) Read() (Events, error) {
	syscalls, err := sum(c.syscalls)
	if err != nil {
		return Events{}, err
	}
	futexes, err := sum(c.futexes)
	return Events{Syscalls: syscalls, Futexes: futexes}, err
}

// Close ends the counting.
func (c *Counters) Close() error {
	var errs []error
	for _, files := range [][]*os.File{c.syscalls, c.futexes} {
		for _, f := range files {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func tracePoint(name string) (uint64, error) {
	var first error
	for _, root := range tracingRoots {
		id, err := os.ReadFile(filepath.Join(root, "events", name, "id"))
		if err == nil {
			return strconv.ParseUint(strings.TrimSpace(string(id)), 10, 64)
		}
		if first == nil {
			first = err
		}
	}
	return 0, fmt.Errorf("the kernel's trace points are out of reach (as root, mount a tracefs at /sys/kernel/tracing): %w", first)
}

// countThreads opens a counter for each thread. One inherits to the threads that its own starts, so it is to be
// called while no other thread is being started.
func countThreads(id uint64) ([]*os.File, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	var files []*os.File
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return files, err
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return files, os.NewSyscallError("perf_event_open", err)
		}
		files = append(files, os.NewFile(uintptr(fd), "counter"))
	}
	return files, nil
}

func sum(files []*os.File) (uint64, error) {
	var total uint64
	for _, f := range files {
		var count [8]byte
		if _, err := f.Read(count[:]); err != nil {
			return 0, err
		}
		total += binary.NativeEndian.Uint64(count[:])
	}
	return total, nil
}
