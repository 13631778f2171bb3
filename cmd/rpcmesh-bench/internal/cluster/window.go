package cluster

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// begin starts the measured window.
func (r *role) begin() error {
	if r.Profile != "" {
		p, err := startProfile(r.Profile)
		if err != nil {
			return err
		}
		r.profile = p
	}
	var err error
	r.began, err = r.usage()
	return err
}

// end ends the measured window and answers with what was used in it.
func (r *role) end() (reply, error) {
	now, err := r.usage()
	if r.profile != nil {
		err = errors.Join(err, r.profile.stop())
		r.profile = nil
	}
	return reply{Usage: now.minus(r.began)}, err
}

func (r *role) usage() (usage, error) {
	u := usageNow()
	if r.counters == nil {
		return u, nil
	}
	var err error
	u.Events, err = r.counters.Read()
	return u, err
}

// eachContended is one in how many waits for a lock that a mutex profile takes in.
const eachContended = 10

// profile is a CPU profile and a mutex profile that are being made.
type profile struct{ cpu, mutex *os.File }

// startProfile makes the files prefix.cpu.pprof and prefix.mutex.pprof.
func startProfile(prefix string) (*profile, error) {
	cpu, err := os.Create(prefix + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	mutex, err := os.Create(prefix + ".mutex.pprof")
	if err == nil {
		err = pprof.StartCPUProfile(cpu)
	}
	if err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	runtime.SetMutexProfileFraction(eachContended)
	return &profile{cpu, mutex}, nil
}

func (p *profile) stop() error {
	pprof.StopCPUProfile()
	runtime.SetMutexProfileFraction(0)
	return errors.Join(pprof.Lookup("mutex").WriteTo(p.mutex, 0), p.mutex.Close(), p.cpu.Close())
}
