package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// grpcGreet is the body of a call of Greet with a name.
func grpcGreet(name string) string {
	return fmt.Sprintf("\x00\x00\x00\x00%c\n%c%s", len(name)+2, len(name), name)
}

// A unary gRPC call of a mounted gateway has no goroutine but its handler's.
func TestUnaryGRPCTakesNoGoroutine(t *testing.T) {
	const calls = 50
	running, goOn := make(chan struct{}), make(chan struct{})
	for _, relays := range []int{0, 2} {
		node := entry(t, relays, scripted{greet: func(context.Context) error {
			running <- struct{}{}
			<-goOn
			return nil
		}})
		for _, kind := range []string{"h2c", "node, h2c"} {
			d := open(t, kind, node, public)
			answered := make(chan int)
			for range calls {
				go func() {
					status, _, _ := d.post(t, greetPath, "application/grpc", grpcGreet("Ada"))
					answered <- status
				}()
			}
			for range calls {
				<-running
			}
			stacks := make([]byte, 4<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			of := strings.Count(string(stacks), "gateway.(*Gateway).ServeHTTP")
			if want := map[string]int{"h2c": calls, "node, h2c": 0}[kind]; of != want {
				t.Errorf("%s, %d relays: %d goroutines of the gateway, want %d", kind, relays, of, want)
			}
			for range calls {
				goOn <- struct{}{}
				if status := <-answered; status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
		}
	}
}

// Both ways through the gateway answer the same, but for the date.
func TestUnaryGRPCAnswersAsServeHTTP(t *testing.T) {
	for _, relays := range []int{0, 2} {
		node := entry(t, relays, greeter{})
		by, whole := open(t, "h2c", node, public), open(t, "node, h2c", node, public)
		for name, test := range map[string]struct {
			path, body string
			header     []string
		}{
			"well":             {greetPath, grpcGreet("Ada"), nil},
			"headers":          {greetPath, grpcGreet("Ada"), []string{"Ask", "what", "Ask", "else", "Te", "trailers", "Grpc-Timeout", "5S"}},
			"no such value":    {greetPath, grpcGreet("Ada"), []string{"Ask", "täg"}},
			"empty":            {greetPath, "\x00\x00\x00\x00\x00", nil},
			"long":             {greetPath, grpcGreet(strings.Repeat("x", 120)), nil},
			"error":            {greetPath, grpcGreet("fail"), []string{"Ask", "why"}},
			"no message":       {greetPath, "", nil},
			"two messages":     {greetPath, grpcGreet("Ada") + grpcGreet("Bob"), nil},
			"half a message":   {greetPath, grpcGreet("Ada")[:7], nil},
			"not a message":    {greetPath, "\x00\x00\x00\x00\x03\x0a\xff\xff", nil},
			"compressed":       {greetPath, "\x01\x00\x00\x00\x01x", nil},
			"unknown encoding": {greetPath, grpcGreet("Ada"), []string{"Grpc-Encoding", "br"}},
			"identity":         {greetPath, grpcGreet("Ada"), []string{"Grpc-Encoding", "identity"}},
			"bad timeout":      {greetPath, grpcGreet("Ada"), []string{"Grpc-Timeout", "soon"}},
			"no time":          {greetPath, grpcGreet("Ada"), []string{"Grpc-Timeout", "0n"}},
			"unknown":          {"/a.B/C", grpcGreet("Ada"), nil},
			"no function":      {"/a", grpcGreet("Ada"), nil},
			"query":            {greetPath + "?x=y", grpcGreet("Ada"), nil},
			"namespace":        {"/ns/public" + greetPath, grpcGreet("Ada"), nil},
			"other namespace":  {"/ns/other" + greetPath, grpcGreet("Ada"), nil},
			"by header":        {greetPath, grpcGreet("Ada"), []string{"Rpcmesh-Namespace", "public"}},
			"twice":            {"/ns/public" + greetPath, grpcGreet("Ada"), []string{"Rpcmesh-Namespace", "public"}},
			"stream":           {greetv1rpcmesh.GreeterCountProcedure, "\x00\x00\x00\x00\x02\x08\x03", nil},
		} {
			t.Run(fmt.Sprintf("relays=%d/%s", relays, name), func(t *testing.T) {
				want, got := by.whole(t, test.path, test.body, test.header...), whole.whole(t, test.path, test.body, test.header...)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// answer is all of a response that does not change from one to the next.
type answer struct {
	Status          int
	Header, Trailer http.Header
	Body            string
}

func (d door) whole(t *testing.T, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(limited(t), http.MethodPost, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc+proto")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, got := d.roundTrip(t, req)
	res.Header.Del("Date")
	return answer{res.StatusCode, res.Header, res.Trailer, string(got)}
}

// A request that does not come whole is served all the same, and ended by its deadline.
func TestUnaryGRPCInPieces(t *testing.T) {
	node := entry(t, 0, greeter{})
	for _, kind := range []string{"h2c", "node, h2c"} {
		t.Run(kind, func(t *testing.T) { inPieces(t, open(t, kind, node, public)) })
	}
}

func inPieces(t *testing.T, d door) {
	nc, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(nc, nc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(fr.WriteSettings())
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	head := func(id uint32, timeout string) {
		block.Reset()
		for _, f := range [][2]string{
			{":method", "POST"},
			{":scheme", "http"},
			{":path", greetPath},
			{":authority", "x"},
			{"content-type", "application/grpc"},
			{"te", "trailers"},
			{"grpc-timeout", timeout},
		} {
			must(enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		must(fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(block.String()), EndHeaders: true}))
	}
	body := grpcGreet("Ada")
	head(1, "5S")
	head(3, "100m")
	must(fr.WriteData(3, false, []byte(body[:4]))) // and no more
	for i := range body {
		must(fr.WriteData(1, i == len(body)-1, []byte(body[i:i+1])))
	}
	status := map[uint32]string{}
	for len(status) < 2 {
		f, err := fr.ReadFrame()
		must(err)
		if mh, ok := f.(*http2.MetaHeadersFrame); ok {
			for _, f := range mh.RegularFields() {
				if f.Name == "grpc-status" {
					status[mh.StreamID] = f.Value
				}
			}
		}
	}
	if want := map[uint32]string{1: "0", 3: "4"}; !cmp.Equal(status, want) {
		t.Errorf("got %v, want %v", status, want)
	}
}

// Long messages go the same way where the mesh takes them at once, and through windows that are smaller.
func TestUnaryGRPCOfLongMessages(t *testing.T) {
	for _, relays := range []int{0, 2} {
		d := open(t, "node, h2c", entry(t, relays, greeter{}), public)
		client := d.greet(protocols["grpc"]...)
		for _, size := range []int{1, 30_000, 60_000, 70_000, 300_000, 3 << 20} {
			name := strings.Repeat("x", size)
			res, err := client.Greet(limited(t), &greetv1.GreetRequest{Name: name})
			if err != nil || res.GetGreeting() != "Hello, "+name {
				t.Errorf("%d relays, %d bytes: got %d, %v", relays, size, len(res.GetGreeting()), err)
			}
		}
		_, err := client.Greet(limited(t), &greetv1.GreetRequest{Name: strings.Repeat("x", 5<<20)})
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%d relays, too long: %v", relays, err)
		}
	}
}

// Long messages of many calls at once, whose memory passes from hand to hand, come back as they were.
func TestUnaryGRPCOfManyLongMessages(t *testing.T) {
	for _, relays := range []int{0, 1} {
		d := open(t, "node, h2c", entry(t, relays, greeter{}), public)
		client := d.greet(protocols["grpc"]...)
		var calls sync.WaitGroup
		for i := range 8 {
			calls.Go(func() {
				for round := range 4 {
					name := strings.Repeat(fmt.Sprint(i, round), 60_000*(round+1))
					res, err := client.Greet(limited(t), &greetv1.GreetRequest{Name: name})
					if err != nil || res.GetGreeting() != "Hello, "+name {
						t.Errorf("%d relays, %d bytes: got %d, %v", relays, len(name), len(res.GetGreeting()), err)
					}
				}
			})
		}
		calls.Wait()
	}
}
