package h2serve_test

import "net"

func subject(l net.Listener, s setup) func() { return oracle(l, s) }
