// Command conform is a server under test of the Connect conformance suite: a chain of three nodes with
// real links, a gateway at one end, and at the other end the conformance service. .ci/conformance runs it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	conformancev1 "github.com/rpcmesh/rpcmesh/ci/conform/gen/connectrpc/conformance/v1"
	"github.com/rpcmesh/rpcmesh/ci/conform/gen/connectrpc/conformance/v1/conformancev1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

const (
	namespace = "conformance"
	secret    = "conformance"
	patience  = 10 * time.Second
)

func main() {
	var a adopted
	flag.StringVar(&a.url, "adopt", "", "the URL of a server to adopt at the far end, in place of the project's own service")
	flag.StringVar(&a.protocol, "protocol", adopt.GRPC.String(), "what the adopted server is spoken to in")
	flag.StringVar(&a.descriptors, "descriptors", "", "the file of the adopted server's descriptor set")
	flag.Parse()
	if err := run(a); err != nil {
		fmt.Fprintln(os.Stderr, "conform:", err)
		os.Exit(1)
	}
}

// run serves as it is told on the standard input until it is told to stop.
func run(a adopted) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	request := new(conformancev1.ServerCompatRequest)
	if err := read(os.Stdin, request); err != nil {
		return err
	}
	c, err := newChain(request)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.offer(ctx, a); err != nil {
		return err
	}
	address, err := c.link(ctx)
	if err != nil {
		return err
	}
	response := &conformancev1.ServerCompatResponse{
		Host: address.IP.String(), Port: uint32(address.Port), PemCert: request.GetServerCreds().GetCert(),
	}
	if err := write(os.Stdout, response); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// chain is the three nodes.
type chain struct {
	entry, relay, far *rpcmesh.Node
	adopted           *adopt.Server
	served            chan error
}

func newChain(request *conformancev1.ServerCompatRequest) (*chain, error) {
	tlsConfig, err := tlsConfig(request)
	if err != nil {
		return nil, err
	}
	c := &chain{served: make(chan error, 2)}
	for _, n := range []struct {
		node **rpcmesh.Node
		cfg  rpcmesh.Config
	}{
		{&c.entry, rpcmesh.Config{Name: "entry", TLS: tlsConfig}},
		{&c.relay, rpcmesh.Config{Name: "relay"}},
		{&c.far, rpcmesh.Config{Name: "far"}},
	} {
		// The suite wants no deadline where its client sets none.
		n.cfg.Secret, n.cfg.CallTimeout = secret, -1
		if *n.node, err = rpcmesh.NewNode(n.cfg); err != nil {
			return nil, err
		}
		(*n.node).Namespace(namespace)
	}
	return c, gateway.Mount(c.entry, gateway.Config{
		Open: true, Namespace: namespace, MaxMessage: int(request.GetMessageReceiveLimit()),
	})
}

// adopted is the server that takes the place of the project's own service, if there is one.
type adopted struct{ url, protocol, descriptors string }

// offer has the service at the far end.
func (c *chain) offer(ctx context.Context, a adopted) error {
	if a.url == "" {
		_, err := conformancev1rpcmesh.RegisterConformanceServiceOrigin(c.far.Namespace(namespace), service{})
		return err
	}
	protocol, err := adopt.ParseProtocol(a.protocol)
	if err != nil {
		return err
	}
	descriptors, err := os.ReadFile(a.descriptors)
	if err != nil {
		return err
	}
	server, err := adopt.New(c.far, a.url, adopt.Config{Namespace: namespace, Protocol: protocol, Descriptors: descriptors})
	if err != nil {
		return err
	}
	c.adopted = server
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return server.Ready(ctx)
}

// link serves the nodes, links them, and returns the gateway's address once it can call.
func (c *chain) link(ctx context.Context) (*net.TCPAddr, error) {
	var addresses []*net.TCPAddr
	for _, node := range []*rpcmesh.Node{c.entry, c.relay} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		go func() { c.served <- node.Serve(context.WithoutCancel(ctx), l) }()
		addresses = append(addresses, l.Addr().(*net.TCPAddr))
	}
	for _, node := range []*rpcmesh.Node{c.entry, c.far} {
		if _, err := node.Link("http://"+addresses[1].String(), namespace); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return addresses[0], c.entry.Namespace(namespace).WaitFor(ctx, conformancev1rpcmesh.ConformanceServiceUnaryProcedure)
}

func (c *chain) close() {
	if c.adopted != nil {
		_ = c.adopted.Close()
	}
	for _, node := range []*rpcmesh.Node{c.entry, c.relay, c.far} {
		_ = node.Close()
	}
}

// tlsConfig returns nil where the gateway is to speak without TLS.
func tlsConfig(request *conformancev1.ServerCompatRequest) (*tls.Config, error) {
	if !request.GetUseTls() {
		return nil, nil
	}
	certificate, err := tls.X509KeyPair(request.GetServerCreds().GetCert(), request.GetServerCreds().GetKey())
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if len(request.GetClientTlsCert()) > 0 {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(request.GetClientTlsCert()) {
			return nil, errors.New("the clients' certificate is none")
		}
	}
	return cfg, nil
}

// maxRequest bounds what the runner may send.
const maxRequest = 1 << 20

// read reads a message behind its length.
func read(from io.Reader, message proto.Message) error {
	var length uint32
	if err := binary.Read(from, binary.BigEndian, &length); err != nil {
		return err
	}
	if length > maxRequest {
		return fmt.Errorf("a request of %d bytes", length)
	}
	encoded := make([]byte, length)
	if _, err := io.ReadFull(from, encoded); err != nil {
		return err
	}
	return proto.Unmarshal(encoded, message)
}

// write writes a message behind its length.
func write(to io.Writer, message proto.Message) error {
	encoded, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	_, err = to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(encoded))), encoded...))
	return err
}
