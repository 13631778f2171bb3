package machine

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string][]int{
		"0": {0}, "1,0": {0, 1}, "0,2-3": {0, 2, 3}, "1-1,1": {1},
		"": nil, "a": nil, "3-1": nil, "-1": nil, "0,": nil, "0-1024": nil, "0-": nil,
	} {
		got, err := ParseCPUs(list)
		if (err != nil) != (want == nil) || !slices.Equal(got, want) {
			t.Errorf("ParseCPUs(%q) = %v, %v; want %v", list, got, err, want)
		}
	}
}

func TestParseTimes(t *testing.T) {
	got, err := parseTimes(strings.NewReader("cpu  100 20 30 400 50 6 7 8 90 9\ncpu0 1 2 3\n"))
	want := Times{Busy: 171 * tick, All: 621 * tick}
	if err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu 1 2 3 x 5 6 7 8\n"} {
		if _, err := parseTimes(strings.NewReader(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestShare(t *testing.T) {
	then := Times{Busy: 1 * time.Second, All: 10 * time.Second}
	now := Times{Busy: 2 * time.Second, All: 14 * time.Second}
	for own, want := range map[time.Duration]float64{0: 0.25, 500 * time.Millisecond: 0.125, 2 * time.Second: 0} {
		if got := now.Share(then, own); got != want {
			t.Errorf("less %v of our own: %v, want %v", own, got, want)
		}
	}
	if got := then.Share(then, 0); got != 0 {
		t.Errorf("within no time: %v", got)
	}
}

func TestOnCPUs(t *testing.T) {
	if !CanPin {
		if err := OnCPUs([]int{0}, func() error { return nil }); err == nil {
			t.Error("binds to a CPU")
		}
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := CPUs()
	if err != nil {
		t.Fatal(err)
	}
	var within []int
	one := before[len(before)-1:]
	if err := OnCPUs(one, func() error {
		within, err = CPUs()
		return err
	}); err != nil || !slices.Equal(within, one) {
		t.Errorf("bound to %v: %v, %v", one, within, err)
	}
	if err := OnCPUs([]int{before[0], maxCPU}, func() error { return nil }); err == nil || !strings.Contains(err.Error(), "may not use all of the CPUs") {
		t.Errorf("bound to a CPU that is not there: %v", err)
	}
	if after, err := CPUs(); err != nil || !slices.Equal(after, before) {
		t.Errorf("bound to %v afterwards, not to %v: %v", after, before, err)
	}
}

// Where the kernel lets it, a system call is counted.
func TestCount(t *testing.T) {
	c, err := Count()
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	before, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Now(); err != nil {
		t.Fatal(err)
	}
	after, err := c.Read()
	if err != nil || after.Syscalls <= before.Syscalls || after.Futexes > after.Syscalls {
		t.Errorf("counted %+v, then %+v: %v", before, after, err)
	}
}
