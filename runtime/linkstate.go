package rpcmesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// linkState is why a link does not bring functions at the moment.
type linkState struct {
	link *Link // nil where the other end dialled
	name string
	// opening: the link is in its first dial, in the immediate redial after a break, or exchanging tables. Calls wait
	// for it.
	opening bool
	why     string
}

func (s linkState) String() string { return "the link to " + s.name + " is " + s.why }

// states returns the links that may bring functions of the namespace but have not yet, sorted by name, and a channel
// that closes when that may have changed. It does not take the table's lock.
func (ls *linkSet) states(namespace string) (states []linkState, moved <-chan struct{}) {
	ls.mu.Lock()
	moved = ls.changed.wait()
	groups := slices.Clone(ls.groups)
	links := slices.Collect(maps.Keys(ls.dialled))
	opening := slices.Collect(maps.Keys(ls.syncing))
	ls.mu.Unlock()
	mine := expandGroups(groups, []string{namespace})
	for _, l := range links {
		if state, lacking := l.state(); lacking && overlap(mine, expandGroups(groups, l.namespaces)) {
			states = append(states, state)
		}
	}
	for _, s := range opening {
		if overlap(mine, expandGroups(groups, s.namespaces)) {
			states = append(states, linkState{name: peerName(s.link.Peer()), opening: true, why: whyExchanging})
		}
	}
	slices.SortFunc(states, func(a, b linkState) int { return strings.Compare(a.name, b.name) })
	return states, moved
}

const (
	whyExchanging = "still exchanging tables"
	whyDialling   = "being dialled"
)

func peerName(p link.Peer) string { return fmt.Sprintf("node %q", p.Join.GetInfo().GetName()) }

// state returns why the link does not bring functions at the moment, and false where it does.
func (l *Link) state() (linkState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := linkState{link: l, name: l.url.String(), opening: l.session != nil || !l.lastFailed}
	switch {
	case l.phase >= linkSynced:
		return s, false
	case l.session != nil:
		s.why = whyExchanging
	case l.err != nil:
		s.why = "down: " + l.err.Error()
	default:
		s.why = whyDialling
	}
	return s, true
}

// expandGroups returns the namespaces whose functions the given names may bring: the members of the groups among
// them, and of groups that bridge any of them.
func expandGroups(groups []*Namespace, names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	for before := 0; before != len(all); {
		before = len(all)
		for _, g := range groups {
			bridged := g.bridged && slices.ContainsFunc(g.members, func(m string) bool { return all[m] })
			if all[g.name] || bridged {
				for _, m := range g.members {
					all[m] = true
				}
			}
		}
	}
	return all
}

func overlap(a, b map[string]bool) bool {
	for name := range a {
		if b[name] {
			return true
		}
	}
	return false
}

// sessionSynced records that the other end of a session has sent its table, or that the session has ended.
func (ls *linkSet) sessionSynced(s *session) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.syncing, s)
	ls.changed.fire()
}
