// Package peer has one file for each framework that the benchmark measures, all behind one interface.
package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
)

// A Peer is one framework. Each of its parts runs in a process of its own, listens on loopback only, at
// a port that the system picks, and runs until its context ends.
type Peer interface {
	// Traits tell what the peer can do, and so which scenarios it takes part in.
	Traits() Traits
	// Serve starts the origin of the echo service and returns the address to reach it at. A broker's
	// server connects to upstream instead, which is empty for all others.
	Serve(ctx context.Context, upstream string, o Options) (addr string, err error)
	// Relay starts a relay before upstream and returns the address to reach it at. A broker's first
	// relay has no upstream.
	Relay(ctx context.Context, upstream string, o Options) (addr string, err error)
	// Dial connects a client to a server or a relay.
	Dial(ctx context.Context, addr string, o Options) (Client, error)
}

// A Program is a peer whose roles are played by another program, which speaks package cluster's protocol as this
// executable would.
type Program interface {
	Peer
	// Arguments are the program and what it is started with.
	Arguments() []string
}

// Traits are what a peer can do.
type Traits struct {
	// Name is the peer's name in tables and flags.
	Name string
	// Note says in a few words how the peer is set up.
	Note string
	// Broker tells that servers, like clients, dial: the relays start first, and the server dials the
	// first of them.
	Broker bool
	// MinRelays and MaxRelays bound the relays between client and server.
	MinRelays, MaxRelays int
	// Streams tells that the peer has bidirectional streams.
	Streams bool
	// TLS tells that the benchmark can run the peer over TLS 1.3.
	TLS bool
	// NotGo tells that the peer is a program in another language, which takes part in closed loops alone.
	NotGo bool
}

// Options are the same for every role of one run.
type Options struct {
	// Role is the name of the process, unique in its run.
	Role string
	// Credentials make every connection TLS 1.3. The zero value means cleartext.
	Credentials Credentials
	// Guest tells that the client is one of very many: a mesh need not know it as a member.
	Guest bool
}

// A Client is what a caller holds. Its methods may be called concurrently.
type Client interface {
	// Unary sends payload and returns what came back.
	Unary(ctx context.Context, payload []byte) ([]byte, error)
	// Stream opens a bidirectional stream, where the peer has them. It runs until ctx ends.
	Stream(ctx context.Context) (Stream, error)
	Close() error
}

// A Stream is one bidirectional echo stream. One goroutine may send while another receives.
type Stream interface {
	Send(payload []byte) error
	Receive() ([]byte, error)
	// CloseSend ends the stream's sending side; the server ends the other in turn.
	CloseSend() error
}

// All are the peers that need nothing but this executable, in the order of the tables.
func All() []Peer {
	return []Peer{meshPeer{}, gatewayPeer{}, grpcPeer{}, connectPeer{}, natsPeer{}, drpcPeer{}, tcpPeer{}}
}

// Named returns the peer of that name.
func Named(name string) (Peer, error) {
	all := All()
	i := slices.IndexFunc(all, func(p Peer) bool { return p.Traits().Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no such peer: %q", name)
	}
	return all[i], nil
}

// serve runs a server until ctx ends. Should it end before, it says why.
func serve(ctx context.Context, run func() error) {
	go func() {
		if err := run(); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "serving:", err)
		}
	}()
}

func listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}
