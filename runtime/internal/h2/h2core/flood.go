package h2core

import "time"

// clockEvery is how many events share a look at the clock.
const clockEvery = 64

// FloodCounter counts events that a peer causes and that cost this end work without use to either: many of them in a
// short time are an attack. It belongs to one goroutine.
type FloodCounter struct {
	limit    int
	interval time.Duration
	n        int
	since    time.Time // of the first of the n
}

// NewFloodCounter returns a counter of limit events in each interval.
func NewFloodCounter(limit int, interval time.Duration) FloodCounter {
	return FloodCounter{limit: limit, interval: interval}
}

// Add counts an event, and reports whether there are too many: then the caller ends the connection, or calls Reset
// where it knows better.
func (f *FloodCounter) Add() (flood bool) {
	if f.n%clockEvery == 0 {
		now := time.Now()
		if f.n == 0 || now.Sub(f.since) > f.interval {
			f.n, f.since = 0, now
		}
	}
	f.n++
	return f.n > f.limit
}

// Reset begins anew.
func (f *FloodCounter) Reset() { f.n = 0 }

// Count returns how many events have been counted.
func (f *FloodCounter) Count() int { return f.n }
