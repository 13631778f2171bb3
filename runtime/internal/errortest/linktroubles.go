package errortest

// LinkTroubles is what a link finds that may pass. Held by package rpcmesh.
var LinkTroubles = Group{
	Title: "Links that may yet come up",
	About: "`Link.Ready` and `rpcmesh.Dial` go on waiting, and return these when their context ends. They are logged as " +
		"warnings after 3 s, and again at longer and longer intervals. `Node.Links` has them too.",
	Rows: []Row{
		{
			ID: "no-such-host", When: "A host name is not known", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the host name \"a\" is not known: correct the URL, or the " +
				"name service",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Correct the URL, or have the name added. In a cluster it may come with the service.",
		},
		{
			ID: "no-name-service", When: "A host name cannot be looked up", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the host name \"a\" cannot be looked up: see to this " +
				"host's name service",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "See to the resolver (`/etc/resolv.conf`), and to the network.",
		},
		{
			ID: "nobody-listens", When: "Nobody listens at the port", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: nobody listens at a (connection refused): start the " +
				"node there (Node.Serve), or correct the URL",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Start the node, correct the port, or see which address it listens at: 127.0.0.1 is for its own host.",
		},
		{
			ID: "unreachable", When: "There is no route to a host", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: no connection to a (see the address, and the network in " +
				"between): dial: connect: network is unreachable",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "See to the address and to the network.",
		},
		{
			ID: "no-answer", When: "A host does not answer", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: there is no connection yet: see the address, whether " +
				"the host is up, and whether a firewall drops what is sent there",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "See whether it is up, and whether a firewall drops what is sent there.",
		},
		{
			ID: "timed-out", When: "A connection times out", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: a does not answer: see whether the host is up, and " +
				"whether a firewall drops what is sent there",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "As above.",
		},
		{
			ID: "no-socket", When: "A Unix socket is not there", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to unix://… is not up: unavailable: there is no socket …: start the node that serves it, or " +
				"correct the URL",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Start the node that serves it, or correct the path.",
		},
		{
			ID: "too-many-files", When: "A process has too many open files", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: this process has too many open files: raise the limit " +
				"(ulimit -n)",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Raise its limit (`ulimit -n`, `LimitNOFILE` of systemd).",
		},
		{
			ID: "not-served", When: "A port listens, and nobody accepts", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: connected to a, which says nothing: let a node accept " +
				"there (Node.Serve, or an http.Server), and link by https if it is TLS that is spoken",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Call `Node.Serve` with the listener. A firewall or a load balancer may accept in a node's place, too.",
		},
		{
			ID: "not-served-tls", When: "A port listens, and TLS's handshake does not go on", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to https://a is not up: unavailable: there is no connection yet, or TLS's handshake goes " +
				"on: see whether the host is up and a node accepts there, and whether a firewall drops what is sent there; " +
				"link by http if it speaks no TLS",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "As above; or it speaks no TLS and waits: link by http then.",
		},
		{
			ID: "whole-request", When: "A proxy takes a link's request and does not pass it on", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the server at a speaks HTTP/2 but does not answer: if " +
				"it is a proxy, let it pass requests on before they have ended (nginx: grpc_pass, not proxy_pass), and see " +
				"whether the node behind it is up",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Such proxies wait for the end of a request, and a link's does not end: nginx passes it on by `grpc_pass`.",
		},
		{
			ID: "hangs-up", When: "A server closes the connection at once", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the server at a closed the connection without a word: " +
				"link by https if it speaks TLS; if it is a proxy, see whether the node behind it is up",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "A balancer without a node behind it does so, and so do servers of other protocols. If it is TLS that is spoken, link by https.",
		},
		{
			ID: "hangs-up-tls", When: "A server closes the connection within TLS's handshake", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to https://a is not up: unavailable: the server at a closed the connection within TLS's " +
				"handshake: link by http if it speaks no TLS; if it is a proxy, see whether the node behind it is up",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "As above; if no TLS is spoken, link by http.",
		},
		{
			ID: "bad-gateway", When: "A proxy does not reach the node behind it", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the server (\"nginx\") at a answered with HTTP status " +
				"502: it cannot reach the node: see whether that is up, and have it spoken to in HTTP/2 (nginx: grpc_pass)",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Start the node, and have it spoken to in HTTP/2.",
		},
		{
			ID: "too-large", When: "A proxy bounds how long a request is", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: resource_exhausted: the server (\"nginx\") at a answered with HTTP " +
				"status 413: a proxy bounds how long requests are, and a link is one: lift that (nginx: client_max_body_size 0)",
			Log: "link not up … url=… error=resource_exhausted: … for=3s",
			Do:  "A link is one request that goes on: lift the bound (nginx: `client_max_body_size 0`).",
		},
		{
			ID: "too-many", When: "A proxy limits requests", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the server at a answered with HTTP status 429: let the " +
				"proxy take links' requests, POST /rpcmesh.link.v1.LinkService/Session, without a limit",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "Exempt the path of links.",
		},
		{
			ID: "failing", When: "A server in a node's place fails", Code: "deadline_exceeded",
			Text: "rpcmesh: the link to http://a is not up: unavailable: the server at a answered with HTTP status 500: see its " +
				"log",
			Log: "link not up … url=… error=unavailable: … for=3s",
			Do:  "See its log.",
		},
	},
}
