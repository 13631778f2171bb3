package gateway_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// TestAbsenceOutside: to callers of JSON a function that has gone for now is 503, and only one that there is not is
// 404, of which they do not learn what else there is.
func TestAbsenceOutside(t *testing.T) {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: "entry", AcceptAnyone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	ns := node.Namespace("public")
	origin, err := greetv1rpcmesh.RegisterGreeterOrigin(ns, greeter{})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", node, public)
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("secret"), greeter{}); err != nil {
		t.Fatal(err)
	}
	const path = "/example.greet.v1.Greeter/Greet"
	wantStatus := func(path string, status int, code string) {
		t.Helper()
		got, _, body := d.post(t, path, "application/json", "{}")
		if got != status || !strings.Contains(body, code) || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
	wantStatus(path, http.StatusOK, "greeting")
	if _, _, body := d.post(t, path+"t", "application/json", "{}"); strings.Contains(body, path+`"`) || strings.Contains(body, "mean") {
		t.Errorf("it tells of other functions: %s", body)
	}
	wantStatus(path+"t", http.StatusNotFound, "unimplemented")
	if err := origin.Unregister(); err != nil {
		t.Fatal(err)
	}
	wantStatus(path, http.StatusServiceUnavailable, "unavailable")
}

// TestAbsenceWaitsNoLongerThanTheCaller: a call from outside waits for a link in its first dial, until its time is up.
func TestAbsenceWaitsNoLongerThanTheCaller(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // where nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: "entry", AcceptAnyone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	if _, err := node.Link("http://"+l.Addr().String(), "public"); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", node, public)
	began := time.Now()
	status, _, body := d.post(t, "/example.greet.v1.Greeter/Greet", "application/json", "{}", "Connect-Timeout-Ms", "200")
	if status != http.StatusGatewayTimeout || !strings.Contains(body, "deadline_exceeded") {
		t.Errorf("%d %s", status, body)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
