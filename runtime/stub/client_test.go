package stub_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// scriptedClientStream answers a caller with responses and then an end.
type scriptedClientStream struct {
	responses              []proto.Message
	end                    error // io.EOF if nil
	send, closeSend, close error // what these return
	sent, closed           int
}

func (s *scriptedClientStream) SendHeaders() error { return nil }
func (s *scriptedClientStream) Send(any) error     { s.sent++; return s.send }
func (s *scriptedClientStream) CloseSend() error   { return s.closeSend }
func (s *scriptedClientStream) Close() error       { s.closed++; return s.close }

func (s *scriptedClientStream) Receive(msg any) error {
	if len(s.responses) == 0 {
		if s.end != nil {
			return s.end
		}
		return io.EOF
	}
	proto.Merge(msg.(proto.Message), s.responses[0])
	s.responses = s.responses[1:]
	return nil
}

// clientOf returns a client whose calls all have the one stream.
func clientOf(stream *scriptedClientStream) greetv1rpcmesh.GreeterClient {
	return greetv1rpcmesh.NewGreeterClient(transportFunc(
		func(context.Context, connect.Spec) (connect.ClientStream, error) { return stream, nil }))
}

var (
	errFell      = connect.NewError(connect.CodeUnavailable, "the link fell")
	errTooLarge  = connect.NewError(connect.CodeResourceExhausted, "too large")
	errUnsettled = connect.NewError(connect.CodeDataLoss, "unsettled")
	greeting     = &greetv1.GreetResponse{Greeting: "Hello"}
)

func TestCallUnary(t *testing.T) {
	tests := []struct {
		name   string
		stream scriptedClientStream
		code   connect.Code // 0: the call succeeds
		text   string
	}{
		{name: "well", stream: scriptedClientStream{responses: []proto.Message{greeting}}},
		{"an error", scriptedClientStream{end: errFell}, connect.CodeUnavailable, "the link fell"},
		{"no response", scriptedClientStream{}, connect.CodeUnimplemented, "has no response message"},
		{"a request that cannot be sent", scriptedClientStream{send: errTooLarge, end: errFell}, connect.CodeResourceExhausted, "too large"},
		{"ended before it was sent", scriptedClientStream{send: io.EOF, end: errFell}, connect.CodeUnavailable, "the link fell"},
		{"ended as it was sent", scriptedClientStream{closeSend: io.EOF, end: errFell}, connect.CodeUnavailable, "the link fell"},
		{"a bad end", scriptedClientStream{responses: []proto.Message{greeting}, close: errUnsettled}, connect.CodeDataLoss, "unsettled"},
		{"an error and a bad end", scriptedClientStream{end: errFell, close: errUnsettled}, connect.CodeUnavailable, "the link fell"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, err := clientOf(&test.stream).Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"})
			if test.code != 0 {
				wantError(t, err, test.code, test.text)
			} else if err != nil || !proto.Equal(res, greeting) {
				t.Errorf("got %v, %v", res, err)
			}
			if (res == nil) == (err == nil) {
				t.Errorf("got both or none: %v, %v", res, err)
			}
			if test.stream.closed != 1 {
				t.Errorf("closed %d times", test.stream.closed)
			}
		})
	}
}

func TestCallsThatCannotOpen(t *testing.T) {
	client := greetv1rpcmesh.NewGreeterClient(transportFunc(
		func(context.Context, connect.Spec) (connect.ClientStream, error) { return nil, errFell }))
	_, err := client.Greet(t.Context(), new(greetv1.GreetRequest))
	wantError(t, err, connect.CodeUnavailable, "the link fell")
	count, err := client.Count(t.Context(), new(greetv1.CountRequest))
	wantError(t, err, connect.CodeUnavailable, "the link fell")
	sum, err := client.Sum(t.Context())
	wantError(t, err, connect.CodeUnavailable, "the link fell")
	chat, err := client.Chat(t.Context())
	wantError(t, err, connect.CodeUnavailable, "the link fell")
	if count != nil || sum != nil || chat != nil {
		t.Errorf("a stream that is not nil came with an error: %v, %v, %v", count, sum, chat)
	}
}

func TestNilRequests(t *testing.T) {
	stream := new(scriptedClientStream)
	client := clientOf(stream)
	_, err := client.Greet(t.Context(), nil)
	wantError(t, err, connect.CodeInvalidArgument, greetv1rpcmesh.GreeterGreetProcedure+" was given a nil request")
	_, err = client.Count(t.Context(), nil)
	wantError(t, err, connect.CodeInvalidArgument, greetv1rpcmesh.GreeterCountProcedure+" was given a nil request")
	sum, err := client.Sum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, sum.Send(nil), connect.CodeInvalidArgument, "nil request")
	chat, err := client.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, chat.Send(nil), connect.CodeInvalidArgument, "nil request")
	if stream.sent > 0 {
		t.Errorf("%d messages were sent none the less", stream.sent)
	}
}

func TestCallServerStreamThatIsNotTaken(t *testing.T) {
	stream := &scriptedClientStream{send: errTooLarge}
	_, err := clientOf(stream).Count(t.Context(), new(greetv1.CountRequest))
	wantError(t, err, connect.CodeResourceExhausted, "too large")
	if stream.closed != 1 {
		t.Errorf("closed %d times", stream.closed)
	}
	// Where the call has ended before its request, the reason is received.
	stream = &scriptedClientStream{send: io.EOF, end: errFell}
	count, err := clientOf(stream).Count(t.Context(), new(greetv1.CountRequest))
	if err != nil {
		t.Fatal(err)
	}
	_, err = count.Receive()
	wantError(t, err, connect.CodeUnavailable, "the link fell")
}

func TestClientStreamAllCloses(t *testing.T) {
	one, two := &greetv1.CountResponse{Number: 1}, &greetv1.CountResponse{Number: 2}
	tests := []struct {
		name     string
		end      error
		breakOff bool
		received int
	}{
		{name: "at the end", received: 2},
		{name: "at a wrapped end", end: connect.NewError(connect.CodeUnknown, "").WithCause(io.EOF), received: 2},
		{name: "when the call fails", end: errFell, received: 2},
		{name: "when broken off", breakOff: true, received: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := &scriptedClientStream{responses: []proto.Message{one, two}, end: test.end}
			count, err := clientOf(stream).Count(t.Context(), new(greetv1.CountRequest))
			if err != nil {
				t.Fatal(err)
			}
			received, failed := 0, 0
			for res, err := range count.All() {
				if err != nil {
					failed++
					if !errors.Is(err, errFell) || res != nil {
						t.Errorf("got %v, %v", res, err)
					}
					continue // a loop that goes on after an error ends none the less
				}
				received++
				if test.breakOff {
					break
				}
			}
			wantFailed := 0
			if errors.Is(test.end, errFell) {
				wantFailed = 1
			}
			if received != test.received || failed != wantFailed || stream.closed != 1 {
				t.Errorf("received %d, failed %d times, closed %d times", received, failed, stream.closed)
			}
		})
	}
}

func TestCloseAndReceive(t *testing.T) {
	sum := &greetv1.SumResponse{Sum: 3}
	tests := []struct {
		name   string
		stream scriptedClientStream
		code   connect.Code // 0: the call succeeds
		text   string
	}{
		{name: "well", stream: scriptedClientStream{responses: []proto.Message{sum}}},
		{name: "ended before all was sent", stream: scriptedClientStream{responses: []proto.Message{sum}, closeSend: io.EOF}},
		{"no response", scriptedClientStream{}, connect.CodeUnimplemented, "has no response message"},
		{"two responses", scriptedClientStream{responses: []proto.Message{sum, sum}}, connect.CodeUnimplemented, "has more than one response message"},
		{"an error", scriptedClientStream{end: errFell}, connect.CodeUnavailable, "the link fell"},
		{"an error behind the response", scriptedClientStream{responses: []proto.Message{sum}, end: errFell}, connect.CodeUnavailable, "the link fell"},
		{"an end that cannot be sent", scriptedClientStream{closeSend: errTooLarge}, connect.CodeResourceExhausted, "too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream, err := clientOf(&test.stream).Sum(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			res, err := stream.CloseAndReceive()
			if test.code != 0 {
				wantError(t, err, test.code, test.text)
			} else if err != nil || !proto.Equal(res, sum) {
				t.Errorf("got %v, %v", res, err)
			}
			if (res == nil) == (err == nil) || test.stream.closed != 1 {
				t.Errorf("got %v, %v; closed %d times", res, err, test.stream.closed)
			}
		})
	}
}

// BenchmarkCallUnary is what a stub costs over connect's own client, with a transport that does nothing.
func BenchmarkCallUnary(b *testing.B) {
	transport := transportFunc(func(context.Context, connect.Spec) (connect.ClientStream, error) { return idleStream{}, nil })
	req := &greetv1.GreetRequest{Name: "Ada"}
	b.Run("stub", func(b *testing.B) {
		client := greetv1rpcmesh.NewGreeterClient(transport)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Greet(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("connect", func(b *testing.B) {
		client := connect.NewClient(transport)
		spec := connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure}
		b.ReportAllocs()
		for b.Loop() {
			if err := client.CallUnary(b.Context(), spec, req, new(greetv1.GreetResponse)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type idleStream struct{}

func (idleStream) SendHeaders() error { return nil }
func (idleStream) Send(any) error     { return nil }
func (idleStream) CloseSend() error   { return nil }
func (idleStream) Receive(any) error  { return nil }
func (idleStream) Close() error       { return nil }
