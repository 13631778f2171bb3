package rpcmesh_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// offer tells that the intruder, a neighbour of n, has the function of workSpec in public.
func (in *intruder) offer(n *rpcmesh.Node) {
	in.t.Helper()
	self, done := in.config()
	defer done()
	in.say(control(&linkv1.Control{Body: &linkv1.Control_Table{Table: &linkv1.Table{
		Namespace: "public", Complete: true,
		Records: []*linkv1.Record{{
			Node: self.Node[:], Incarnation: 1, Version: 3,
			About:      &linkv1.About{At: 1, Info: &linkv1.NodeInfo{Name: "intruder"}},
			Neighbours: []*linkv1.Neighbour{{At: 2, Node: idOf(n), Cost: 1, Incarnation: startOf(n)}},
			Functions:  []*linkv1.Function{{At: 3, Procedure: workSpec().Procedure, Registered: 1}},
		}},
	}}}))
}

// answers has frames and controls for the next call.
func (in *intruder) answers(controls []*linkv1.Control, frames ...*linkv1.Frame) {
	for {
		p, err := in.receive()
		if err != nil {
			in.t.Errorf("no call came: %v", err)
			return
		}
		for _, f := range p.GetFrames() {
			if f.GetOpen() == nil {
				continue
			}
			for _, answer := range frames {
				if answer.GetCall() == 0 {
					answer.Call = f.GetCall()
				}
			}
			in.say(&linkv1.Packet{Controls: controls, Frames: frames})
			return
		}
	}
}

// TestCertaintyOfBadAnswers: what an origin says against the rules ends its call, or its link, and the caller learns
// whether the handler is known to have answered, from a relay too.
func TestCertaintyOfBadAnswers(t *testing.T) {
	long := make([]byte, 1100)
	headers := &linkv1.Headers{Headers: []*linkv1.Header{{Key: "k", Values: [][]byte{[]byte("v")}}}}
	for name, c := range map[string]struct {
		code      connect.Code
		certainty rpcmeshv1.CallFailure_Certainty
		atRelay   bool // a relay ends the call
		controls  []*linkv1.Control
		frames    []*linkv1.Frame
	}{
		"an end with too much in it": {connect.CodeInternal, unknown, false, nil, []*linkv1.Frame{{End: &linkv1.End{Code: 1, Details: make101()}}}},
		"an end within a message":    {connect.CodeInternal, started, false, nil, []*linkv1.Frame{{Data: []byte("x"), More: true}, {End: &linkv1.End{}}}},
		"two responses":              {connect.CodeInternal, started, false, nil, []*linkv1.Frame{{Data: []byte{}}, {Data: []byte{}}, {End: &linkv1.End{}}}},
		"a response beyond the limit": {
			connect.CodeResourceExhausted, started, false, nil,
			[]*linkv1.Frame{{Data: long}, {End: &linkv1.End{}}},
		},
		"headers that are none": {
			connect.CodeInternal, started, false, nil,
			[]*linkv1.Frame{{Headers: &linkv1.Headers{Headers: []*linkv1.Header{{}}}}, {Data: []byte{}, End: &linkv1.End{}}},
		},
		"headers after data": {connect.CodeInternal, started, true, nil, []*linkv1.Frame{{Data: []byte{}}, {Headers: headers, End: &linkv1.End{}}}},
		"headers twice":      {connect.CodeInternal, started, true, nil, []*linkv1.Frame{{Headers: headers}, {Headers: headers}}},
		"credit beyond all bounds": {
			connect.CodeResourceExhausted, unknown, true, nil,
			[]*linkv1.Frame{{Window: 1<<32 - 1}, {Window: 1<<32 - 1}},
		},
		"a breach of the link": {connect.CodeUnavailable, unknown, true, []*linkv1.Control{{Body: &linkv1.Control_Hello{Hello: hello()}}}, nil},
		"a goodbye":            {connect.CodeUnavailable, unknown, true, []*linkv1.Control{{Body: &linkv1.Control_Goodbye{Goodbye: &linkv1.Goodbye{}}}}, nil},
		"an answer and a goodbye": {
			connect.CodeUnavailable, started, true, nil,
			[]*linkv1.Frame{{Headers: headers}, {Call: 1 << 30, Open: &linkv1.Open{}, End: &linkv1.End{}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachCaller(t, func(t *testing.T, from callerOf) {
				for _, caller := range []string{"a", "c"} {
					t.Run(caller, func(t *testing.T) {
						inBubble(t, func(t *testing.T, cl *rpcmeshtest.Cluster) {
							tight := func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage, cfg.Limits.Window = 1000, 200 }
							cl.Node("a", tight)
							cl.Node("c", tight)
							cl.Link("c", "a", "public")
							in := intrude(t, cl, "a", false, plain("public")...)
							in.offer(cl.Node("a"))
							synctest.Wait()
							got := make(chan error, 1)
							go func() {
								_, err := do(t.Context(), from(cl, caller), workSpec(), "")
								got <- err
							}()
							in.answers(c.controls, c.frames...)
							at := caller
							if c.atRelay {
								at = "a"
							}
							wantTold(t, <-got, c.code, rpcmesh.Certainty(c.certainty), at)
						})
					})
				}
			})
		})
	}
}

func make101() []*linkv1.Detail {
	details := make([]*linkv1.Detail, 101)
	for i := range details {
		details[i] = new(linkv1.Detail)
	}
	return details
}

// TestCertaintyOfBadCalls: what a caller says against the rules ends its call, and each such end says whether the
// handler ran.
func TestCertaintyOfBadCalls(t *testing.T) {
	open := func(change func(*linkv1.Open)) *linkv1.Frame {
		o := &linkv1.Open{Namespace: "public", Procedure: greetv1rpcmesh.GreeterChatProcedure, StreamType: 3}
		change(o)
		return &linkv1.Frame{Hops: 64, Open: o}
	}
	same := func(*linkv1.Open) {}
	for name, c := range map[string]struct {
		code      connect.Code
		certainty rpcmeshv1.CallFailure_Certainty
		relayed   rpcmeshv1.CallFailure_Certainty // where the node called is a relay; unspecified: likewise
		frames    []*linkv1.Frame
	}{
		"a namespace that is not carried": {connect.CodePermissionDenied, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Namespace = "private" })}},
		"a namespace beyond the limit":    {connect.CodeInvalidArgument, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Namespace = strings.Repeat("x", 300) })}},
		"a short id":                      {connect.CodeInvalidArgument, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Origin = []byte("x") })}},
		"an unknown origin":               {connect.CodeUnavailable, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Origin = make([]byte, 16) })}},
		"a function that was withdrawn":   {connect.CodeUnavailable, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Procedure = "/test.v1.No/Where" })}},
		"no reserved procedure":           {connect.CodeUnimplemented, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) { o.Procedure = "/rpcmesh.v1.SchemaService/No" })}},
		"headers that are none": {connect.CodeInvalidArgument, notStarted, 0, []*linkv1.Frame{open(func(o *linkv1.Open) {
			o.Headers = &linkv1.Headers{Headers: []*linkv1.Header{{}}}
		})}},
		"a message beyond the limit": {connect.CodeResourceExhausted, started, 0, []*linkv1.Frame{open(same), {Data: make([]byte, 1100)}}},
		"a message after the last":   {connect.CodeInvalidArgument, started, unknown, []*linkv1.Frame{open(same), {CloseSend: true}, {Data: []byte{}}}},
		"a cancel":                   {connect.CodeCanceled, started, unknown, []*linkv1.Frame{open(same), {Cancel: 1}}},
		"credit beyond all bounds":   {connect.CodeResourceExhausted, started, unknown, []*linkv1.Frame{open(same), {Window: 1<<32 - 1}, {Window: 1<<32 - 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, origin := range []string{"a", "b"} {
				t.Run(origin, func(t *testing.T) {
					inBubble(t, func(t *testing.T, cl *rpcmeshtest.Cluster) {
						tight := func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage, cfg.Limits.Window = 1000, 200 }
						cl.Node("a", tight)
						cl.Node("b", tight)
						cl.Link("b", "a", "public")
						register(t, cl.Node(origin).Namespace("public"), funcs{chat: lastingEcho})
						in := intrude(t, cl, "a", false, plain("public")...)
						synctest.Wait()
						in.call += 2
						for _, f := range c.frames {
							f.Call = in.call - 2
							if o := f.GetOpen(); o != nil && o.Origin == nil {
								o.Origin = idOf(cl.Node(origin))
								defer func() { o.Origin = nil }()
							}
						}
						in.say(&linkv1.Packet{Frames: c.frames})
						end := in.awaitEnd(in.call - 2)
						want := c.certainty
						if c.relayed != 0 && origin == "b" {
							want = c.relayed
						}
						if codeOfEnd(end) != c.code || end.GetFailure().GetCertainty() != want {
							t.Errorf("told %v; want %v, %v", end, c.code, want)
						}
						time.Sleep(2 * time.Second) // fake time
					})
				})
			}
		})
	}
}
