package mesh

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// What happens after a table of FuzzReceive, bit by bit.
const (
	fuzzSettle = 1 << iota // routes are found anew
	fuzzPull               // the peer is told all there is to tell
	fuzzCheck              // the node is looked at
	fuzzWait               // time passes
	fuzzAgain              // the link goes down and comes up
	fuzzOther              // the next table comes over the other link
	fuzzGroup              // its namespace is the group's
)

// FuzzReceive lets two peers tell anything, in tables that each have a byte before them that says what happens
// then. The core must not panic, and stay sound and bounded. It is quick: a bare core, and no other node.
func FuzzReceive(f *testing.F) {
	for seed := range uint64(8) {
		for _, said := range parts(conversation(f, seed), int(seed)) {
			f.Add(said)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v := newVictim(t)
		for range 64 {
			op, table := v.next(&data)
			if table == nil || v.core.Receive(v.now, v.links[v.on], table) != nil {
				break
			}
			v.do(op)
		}
		v.check()
		v.core.LinkDown(v.now, v.links[0], Cause{Text: "cut"})
		v.now = v.now.Add(ForgetAfter + time.Second)
		v.core.Tick(v.now)
		v.check()
	})
}

// parts makes inputs of a conversation.
func parts(said []byte, seed int) (inputs [][]byte) {
	var input []byte
	n := 0
	for table := range tablesOf(said) {
		b, _ := proto.Marshal(table)
		op := byte(n*7 + seed*13)
		if table.GetNamespace() == "group" {
			op |= fuzzGroup
		} else {
			op &^= fuzzGroup
		}
		input = append(binary.AppendUvarint(append(input, op), uint64(len(b))), b...)
		n++
		if n%4 == 0 {
			inputs, input = append(inputs, input), nil
		}
	}
	return append(inputs, input)
}

// victim is a core and its links to two peers that say anything.
type victim struct {
	t     testing.TB
	core  *Core
	now   time.Time
	last  LinkID
	links [2]LinkID
	on    int // the link that the next table comes over
}

func newVictim(t testing.TB) *victim {
	v := &victim{t: t, now: time.Unix(1_700_000_000, 0)}
	v.core = New(Config{
		ID: nodeid.ID(id("node")), Incarnation: uint64(v.now.UnixNano()), Info: &linkv1.NodeInfo{Name: "node"},
		Limits: Limits{Members: 20, MemberFunctions: 50, Functions: 100, Neighbours: 20},
	})
	v.core.keptRemovals = 3
	v.must(v.core.DeclareGroup(v.now, "group", []string{"default", "other"}, false))
	v.must(v.core.Register(v.now, "default", []Function{{Procedure: "/t.S/All", Policy: PolicyRandom}, {Procedure: "/t.S/node"}}))
	for i := range v.links {
		v.link(i)
	}
	v.core.Pending()
	for i := range v.links {
		v.pull(i)
	}
	return v
}

func (v *victim) must(err error) {
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) link(i int) {
	v.last++
	v.links[i] = v.last
	carried := []*linkv1.LinkNamespace{{Name: "default"}, {Name: "group"}}
	v.must(v.core.LinkUp(v.now, v.last, Peer{
		ID: nodeid.ID(id([]string{"evil", "other"}[i])), Incarnation: 1, Info: &linkv1.NodeInfo{Name: "peer"}, Local: carried, Remote: carried,
	}))
}

func (v *victim) pull(i int) {
	for range 1000 {
		if v.core.Pull(v.now, v.links[i], 1000) == nil {
			return
		}
	}
	v.t.Fatal("pulling does not come to an end")
}

// next reads the next table, and the byte before it. The peer has seen no more than it was sent.
func (v *victim) next(data *[]byte) (op byte, t *linkv1.Table) {
	if len(*data) < 2 {
		return 0, nil
	}
	op = (*data)[0]
	size, n := binary.Uvarint((*data)[1:])
	rest := (*data)[1+max(n, 0):]
	if n <= 0 || size > uint64(len(rest)) {
		return 0, nil
	}
	*data = rest[size:]
	t = new(linkv1.Table)
	if proto.Unmarshal(bytes.Clone(rest[:size]), t) != nil {
		return 0, nil
	}
	t.Namespace = "default"
	if op&fuzzGroup != 0 {
		t.Namespace = "group"
	}
	if l := v.core.links[v.links[v.on]]; l != nil {
		t.Seen = min(t.GetSeen(), l.domain(t.GetNamespace()).tablesSent)
	}
	return op, t
}

func (v *victim) do(op byte) {
	if op&fuzzWait != 0 {
		v.now = v.now.Add(DigestInterval)
		v.core.Tick(v.now)
	}
	if op&fuzzAgain != 0 {
		v.core.LinkDown(v.now, v.links[v.on], Cause{Text: "again", Goodbye: op&fuzzWait != 0})
		v.link(v.on)
	}
	if op&fuzzSettle != 0 {
		v.core.Pending()
	}
	if op&fuzzPull != 0 {
		v.pull(v.on)
	}
	if op&fuzzCheck != 0 {
		v.check()
	}
	if op&fuzzOther != 0 {
		v.on = 1 - v.on
	}
}

func (v *victim) check() { soundCore(v.t, "the node", v.core) }
