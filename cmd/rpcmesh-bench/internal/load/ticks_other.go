//go:build !linux

package load

import "time"

// ticks are the runtime's, a millisecond apart or more on most systems.
type ticks struct{ ticker *time.Ticker }

func newTicks(every time.Duration) (ticks, error) { return ticks{time.NewTicker(every)}, nil }

func (t ticks) wait() error {
	<-t.ticker.C
	return nil
}

func (t ticks) close() { t.ticker.Stop() }
