package rpcmesh

import (
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// linkSet is the links that a node dials, and those dialled by others whose tables are still to come: what calls wait
// for. Its lock is never held for long.
type linkSet struct {
	redialMin, redialMax time.Duration
	addresses            addressMonitor
	hasLinked            atomic.Bool // a link that the node dials has been ready

	mu             sync.Mutex
	dialled        map[*Link]struct{}
	syncing        map[*session]struct{} // from others, whose tables are still to come
	groups         []*Namespace
	changed        broadcast                 // a link came up, told its table, or ended
	redialLimiters map[string]*redialLimiter // by host that is linked to
}

func newLinkSet(cfg *Config) *linkSet {
	ls := &linkSet{
		redialMin: cfg.RedialMin, redialMax: cfg.RedialMax,
		dialled: map[*Link]struct{}{}, syncing: map[*session]struct{}{}, redialLimiters: map[string]*redialLimiter{},
	}
	if cfg.Dial == nil {
		ls.addresses.list = net.InterfaceAddrs
	}
	return ls
}

// add adds a link that the node dials.
func (ls *linkSet) add(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.dialled[l] = struct{}{}
	l.limiter = ls.acquireLimiterLocked(l.url.Host)
}

// remove removes a link that is not dialled any more.
func (ls *linkSet) remove(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.dialled, l)
	ls.releaseLimiterLocked(l.url.Host, l.limiter)
	ls.changed.fire()
}

// all returns the links that the node dials.
func (ls *linkSet) all() []*Link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Collect(maps.Keys(ls.dialled))
}

// addSyncing adds a link that another node has dialled, until sessionSynced.
func (ls *linkSet) addSyncing(s *session) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.syncing[s] = struct{}{}
}

// addGroup adds a group, whose functions come by links that carry it or its members.
func (ls *linkSet) addGroup(ns *Namespace) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.groups = append(ls.groups, ns)
}

// notify wakes those who wait for a link.
func (ls *linkSet) notify() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.changed.fire()
}
