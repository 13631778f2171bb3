package h2

import (
	"crypto/tls"
	"net"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// TLSClient is tls.Client over a connection that is read and written as a Conn without TLS does it.
func TLSClient(nc net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(directly(nc), cfg) }

// TLSListener is tls.NewListener over connections that are read and written as a Conn without TLS does
// it.
func TLSListener(l net.Listener, cfg *tls.Config) net.Listener {
	return tls.NewListener(directListener{l}, cfg)
}

type directListener struct{ net.Listener }

func (l directListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return directly(nc), nil
}

// direct is a connection that is read and written by its socket. A tls.Conn sees to it that one reads at
// a time, and one writes.
type direct struct {
	net.Conn
	socket *netio.Socket
}

// directly returns nc itself where it is no socket of the system.
func directly(nc net.Conn) net.Conn {
	if s := netio.NewSocket(nc); s != nil {
		return &direct{nc, s}
	}
	return nc
}

func (d *direct) Read(p []byte) (int, error) { return d.socket.Read(p) }

func (d *direct) Write(p []byte) (int, error) { return d.socket.Write(p) }
