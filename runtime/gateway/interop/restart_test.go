package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1connect"
)

var (
	restartCalls = flag.Int("restarts.calls", 0, "calls by each client while processes are restarted; default: as many as go in a few seconds")
	restartOf    = flag.String("restarts.of", "", "kinds of processes to restart, with commas between; default: one after the other and all in any order")
	restartSeed  = flag.Uint64("restarts.seed", 0, "of the order; default: a new one")
)

const (
	// anyOrder is the kind that stands for all of them.
	anyOrder = "any"
	// restartCallers is how many calls each client makes at once.
	restartCallers = 16
	// callLimit bounds one call, and so what it may wait for.
	callLimit = 10 * time.Second
)

// TestRestarts restarts by SIGTERM, one after the other, the processes of a deployment in which each has another of its
// kind, while clients of other libraries call a method that nobody may repeat: through a load balancer, as the Service
// of Kubernetes is one, that goes by the gateways' readiness probes. No call may fail.
//
// To measure: go test -run TestRestarts -v . -restarts.calls=100000
func TestRestarts(t *testing.T) {
	kinds := []string{anyOrder}
	if *restartOf != "" {
		kinds = strings.Split(*restartOf, ",")
	} else if *restartCalls > 0 {
		kinds = []string{kindGateway, kindHub, kindReplica, kindServer, kindAdopter, anyOrder}
	}
	seed := *restartSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-restarts.seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t)
	var gateways []string
	for _, p := range c.of(kindGateway) {
		gateways = append(gateways, p.addr)
	}
	b := newBalancer(t, gateways...)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "restarted\ttimes\tclient\tcalls\tfailed")
	for _, kind := range kinds {
		c.awaitWhole()
		namespaces := map[string][]string{kindReplica: {namespace}, kindServer: {adopted}, kindAdopter: {adopted}}[kind]
		if namespaces == nil {
			namespaces = []string{namespace, adopted}
		}
		loads, times := newLoads(t, b.address()), 0
		under(loads, namespaces, func(over <-chan struct{}) { times = c.restart(kind, r, over) })
		for _, l := range loads {
			fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\n", kind, times, l.name, l.done.Load(), l.failed.Load())
			if failed := l.failed.Load(); failed > 0 {
				t.Errorf("%s: %d of %d calls failed while processes were restarted: %s", l.name, failed, l.done.Load(), kind)
			}
		}
	}
	_ = w.Flush()
	t.Logf("failed calls:\n%s", table.String())
}

// restart restarts the processes of a kind, each when the mesh is whole again after the one before, until over is
// closed. It returns how many.
func (c *cluster) restart(kind string, r *rand.Rand, over <-chan struct{}) (times int) {
	c.Helper()
	all := c.of(kind)
	if kind == anyOrder {
		all = slices.Clone(c.processes)
	}
	if len(all) == 0 {
		c.Fatalf("there is no kind %q", kind)
	}
	for {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all {
			p.stop()
			p.start()
			c.awaitWhole()
			times++
			select {
			case <-over:
				return times
			default:
			}
		}
		if *restartCalls == 0 {
			return times
		}
	}
}

// load is what one client calls.
type load struct {
	name   string
	call   func(ctx context.Context, number int64, namespace string) (int64, error)
	begun  atomic.Int64
	done   atomic.Int64
	failed atomic.Int64
	errors sync.Map // texts
}

// newLoads returns the clients, all of which know the balancer's address and nothing else.
func newLoads(t *testing.T, address string) []*load {
	return []*load{
		{name: "grpc-go", call: workGRPC(dialGRPC(t, address))},
		{name: "connect-go", call: workConnect(connecthttp.NewTransport(h2c(t), "http://"+address))},
		{name: "JSON, HTTP/1.1", call: workJSON(t, "http://"+address)},
	}
}

func workGRPC(conn *grpc.ClientConn) func(context.Context, int64, string) (int64, error) {
	client := interopv1.NewWorkServiceClient(conn)
	return func(ctx context.Context, number int64, namespace string) (int64, error) {
		ctx = metadata.AppendToOutgoingContext(ctx, "rpcmesh-namespace", namespace)
		res, err := client.Work(ctx, &interopv1.WorkRequest{Number: number})
		return res.GetNumber(), err
	}
}

func workConnect(transport connect.Transport) func(context.Context, int64, string) (int64, error) {
	client := interopv1connect.NewWorkServiceClient(connect.NewClient(transport))
	return func(ctx context.Context, number int64, namespace string) (int64, error) {
		ctx, info := connect.NewClientContext(ctx)
		info.RequestHeader().Set("rpcmesh-namespace", namespace)
		res, err := client.Work(ctx, &interopv1.WorkRequest{Number: number})
		return res.GetNumber(), err
	}
}

func workJSON(t *testing.T, url string) func(context.Context, int64, string) (int64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: restartCallers}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, number int64, namespace string) (int64, error) {
		body := fmt.Appendf(nil, `{"number": "%d"}`, number)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+interopv1connect.WorkServiceWorkProcedure, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Rpcmesh-Namespace", namespace)
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			return 0, errors.Join(err, fmt.Errorf("status %d: %s", res.StatusCode, got))
		}
		var answer struct {
			Number int64 `json:"number,string"`
		}
		err = json.Unmarshal(got, &answer)
		return answer.Number, err
	}
}

// run makes calls until over is closed, or as many as are to be.
func (l *load) run(namespaces []string, over <-chan struct{}) {
	var callers sync.WaitGroup
	for range restartCallers {
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				number := l.begun.Add(1)
				if *restartCalls > 0 && number > int64(*restartCalls) {
					return
				}
				l.one(number, namespaces[number%int64(len(namespaces))])
			}
		})
	}
	callers.Wait()
}

func (l *load) one(number int64, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	got, err := l.call(ctx, number, namespace)
	if err == nil && got != number {
		err = fmt.Errorf("the answer is that of call %d", got)
	}
	l.done.Add(1)
	if err != nil {
		l.failed.Add(1)
		text := fmt.Sprintf("%s: %v", namespace, err)
		if _, had := l.errors.LoadOrStore(text, true); !had {
			fmt.Fprintf(os.Stderr, "%s %s: %s\n", time.Now().Format("05.000"), l.name, text)
		}
	}
}

// under has loads run until restarts has returned, or, where so many calls are to be made, until they have been: then
// the channel that restarts gets is closed.
func under(loads []*load, namespaces []string, restarts func(over <-chan struct{})) {
	over, enough := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	for _, l := range loads {
		running.Go(func() { l.run(namespaces, over) })
	}
	go func() {
		defer close(enough)
		running.Wait()
	}()
	restarts(enough)
	if *restartCalls == 0 {
		close(over)
	}
	<-enough
}
