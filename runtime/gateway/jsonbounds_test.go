package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// bomb returns a function of which each response has so many items, of four bytes each, whose field has the longest
// name in JSON that there can be, and what it is when spelled.
func bomb(t *testing.T) (procedure string, method connect.Method, item string) {
	t.Helper()
	name := strings.Repeat("A", 512)
	text := `name: "bomb.proto" package: "bomb.v1" syntax: "proto3"
message_type { name: "Items" field { name: "n" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
	field { name: "items" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".bomb.v1.Item" } }
message_type { name: "Item" field { name: "x" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL json_name: "` + name + `" } }
service { name: "Bomb" method { name: "Get" input_type: ".bomb.v1.Items" output_type: ".bomb.v1.Items" } }`
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	procedure = "/bomb.v1.Bomb/Get"
	spec := connect.Spec{Procedure: procedure, Schema: fd.Services().Get(0).Methods().Get(0)}
	return procedure, connect.Method{Spec: spec, Handler: func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
		info, _ := connect.CallInfoForServerContext(ctx)
		var msg rawcall.Message
		if err := s.Receive(&msg); err != nil {
			return err
		}
		items := 0
		_, _ = fmt.Sscan(info.RequestHeader().Get("Items"), &items)
		return s.Send(&rawcall.Message{B: bytes.Repeat([]byte{0x0a, 2, 8, 1}, items)})
	}}, `{"` + name + `":true}`
}

// TestJSONIsBounded: a short response that would be a long one in JSON is refused before it takes memory; up to the
// limit it comes, and as proto it comes anyway.
func TestJSONIsBounded(t *testing.T) {
	procedure, method, item := bomb(t)
	node := rpcmeshtest.New(t).Node("n")
	if _, err := node.Namespace("public").Register(method); err != nil {
		t.Fatal(err)
	}
	cfg := public
	cfg.MaxJSON = 1 << 20
	d := open(t, "h2c", node, cfg)
	post := func(contentType, body string, items int) (status int, answer string, took uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		status, _, answer = d.post(t, procedure, contentType, body, "Items", fmt.Sprint(items))
		runtime.ReadMemStats(&after)
		return status, answer, after.TotalAlloc - before.TotalAlloc
	}
	const fit = 1900
	if status, answer, _ := post("application/json", "{}", fit); status != 200 || strings.Count(strings.ReplaceAll(answer, " ", ""), item) != fit {
		t.Errorf("%d items: %d, %d bytes", fit, status, len(answer))
	}
	for _, items := range []int{2100, 1 << 20} {
		status, answer, took := post("application/json", "{}", items)
		if status != 429 || !strings.Contains(answer, "longer than 1048576 bytes in JSON") {
			t.Errorf("%d items: %d, %.200s", items, status, answer)
		}
		if limit := uint64(64 << 20); took > limit {
			t.Errorf("%d items took %d MiB", items, took>>20)
		}
	}
	if status, answer, _ := post("application/proto", "", 1<<20); status != 200 || len(answer) != 4<<20 {
		t.Errorf("as proto: %d, %d bytes", status, len(answer))
	}
}

// TestJSONInTurn: many long messages at once, which take more memory together than there may be, come all the same.
func TestJSONInTurn(t *testing.T) {
	procedure, method, _ := bomb(t)
	node := rpcmeshtest.New(t).Node("n")
	if _, err := node.Namespace("public").Register(method); err != nil {
		t.Fatal(err)
	}
	cfg := public
	cfg.MaxJSON = 1 << 20
	d := open(t, "h2c", node, cfg)
	body := `{"items":[` + strings.Repeat("{},", 50_000) + `{}]}` // two weigh more than all may
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if status, _, answer := d.post(t, procedure, "application/json", body); status != 200 {
				t.Errorf("%d, %.200s", status, answer)
			}
		})
	}
	all.Wait()
}
