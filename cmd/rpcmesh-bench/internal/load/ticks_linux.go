package load

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ticks come from the kernel through the network poller, as requests from outside would: the runtime's
// own timers are no finer than a millisecond while a process is idle.
type ticks struct{ timer *os.File }

func newTicks(every time.Duration) (ticks, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return ticks{}, os.NewSyscallError("timerfd_create", err)
	}
	timer := os.NewFile(uintptr(fd), "timer")
	period := unix.NsecToTimespec(every.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: period, Value: period}, nil); err != nil {
		timer.Close()
		return ticks{}, os.NewSyscallError("timerfd_settime", err)
	}
	return ticks{timer}, nil
}

// wait returns at the next tick, at once if one was missed.
func (t ticks) wait() error {
	var expirations [8]byte
	_, err := t.timer.Read(expirations[:])
	return err
}

func (t ticks) close() { t.timer.Close() }
