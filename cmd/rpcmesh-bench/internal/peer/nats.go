package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	benchv1 "github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1"
)

const (
	natsSubject = "bench.echo"
	natsPayload = 8 << 20 // bytes a server lets through in one message
	natsStart   = 10 * time.Second
)

// natsPeer is NATS: its servers are the relays, each further one a leaf node of the one before it. The
// origin and the caller are clients, at the first and at the last server; they exchange the same
// messages as all others.
type natsPeer struct{}

func (natsPeer) Traits() Traits {
	return Traits{Name: "nats", Note: "a server a relay, in a chain of leaf nodes", Broker: true, MinRelays: 1, MaxRelays: 3}
}

func (natsPeer) Serve(ctx context.Context, upstream string, o Options) (string, error) {
	conn, err := dialNATS(upstream, o)
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, conn.Close)
	_, err = conn.Subscribe(natsSubject, func(m *nats.Msg) {
		var req benchv1.EchoRequest
		if proto.Unmarshal(m.Data, &req) != nil {
			return
		}
		if res, err := proto.Marshal(&benchv1.EchoResponse{Payload: req.GetPayload()}); err == nil {
			_ = m.Respond(res)
		}
	})
	if err != nil {
		return "", err
	}
	return "", conn.Flush()
}

// Relay starts a server. Its address is that of its clients and that of its leaf nodes, with a comma
// between.
func (natsPeer) Relay(ctx context.Context, upstream string, o Options) (string, error) {
	opts := &server.Options{
		ServerName: o.Role,
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		MaxPayload: natsPayload,
		NoSigs:     true,
		NoLog:      true,
		LeafNode:   server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT},
	}
	if upstream != "" {
		_, hub, ok := strings.Cut(upstream, ",")
		if !ok {
			return "", fmt.Errorf("no address for leaf nodes in %q", upstream)
		}
		opts.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: hub}}}}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return "", err
	}
	s.Start()
	context.AfterFunc(ctx, s.Shutdown)
	if !s.ReadyForConnections(natsStart) {
		return "", errors.New("nats-server: not ready in time")
	}
	leaves := net.JoinHostPort(opts.LeafNode.Host, strconv.Itoa(opts.LeafNode.Port)) // written by the server
	return s.Addr().String() + "," + leaves, nil
}

func (natsPeer) Dial(_ context.Context, addr string, o Options) (Client, error) {
	conn, err := dialNATS(addr, o)
	if err != nil {
		return nil, err
	}
	return natsClient{conn}, nil
}

func dialNATS(addr string, o Options) (*nats.Conn, error) {
	client, _, _ := strings.Cut(addr, ",")
	return nats.Connect("nats://"+client, nats.Name(o.Role))
}

type natsClient struct{ conn *nats.Conn }

func (c natsClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	data, err := proto.Marshal(&benchv1.EchoRequest{Payload: payload})
	if err != nil {
		return nil, err
	}
	m, err := c.conn.RequestWithContext(ctx, natsSubject, data)
	if err != nil {
		return nil, err
	}
	var res benchv1.EchoResponse
	if err := proto.Unmarshal(m.Data, &res); err != nil {
		return nil, err
	}
	return res.GetPayload(), nil
}

func (natsClient) Stream(context.Context) (Stream, error) {
	return nil, errors.New("nats has no streams")
}

func (c natsClient) Close() error {
	c.conn.Close()
	return nil
}
