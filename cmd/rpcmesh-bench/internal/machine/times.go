package machine

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/stat, the same on every architecture that Go runs on.
const tick = time.Second / 100

// Fields of a cpu line of /proc/stat, see proc_stat(5).
const (
	fieldIdle = iota + 4
	fieldIOWait
	_
	_
	fieldSteal
)

// Now reads how long the CPUs have been busy.
func Now() (Times, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return Times{}, errors.Join(ErrUnsupported, err)
	}
	defer f.Close()
	return parseTimes(f)
}

// parseTimes reads the line of all CPUs, which is the first. What guests of this machine used, after steal,
// is counted among user and nice already.
func parseTimes(r io.Reader) (Times, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return Times{}, err
	}
	fields := strings.Fields(line)
	if len(fields) <= fieldSteal || fields[0] != "cpu" {
		return Times{}, errors.New("/proc/stat does not begin with the times of all CPUs")
	}
	var t Times
	for i, field := range fields[1 : fieldSteal+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Times{}, err
		}
		t.All += time.Duration(n) * tick
		if i+1 != fieldIdle && i+1 != fieldIOWait {
			t.Busy += time.Duration(n) * tick
		}
	}
	return t, nil
}
