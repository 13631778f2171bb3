package errortest

// LinkMistakes is what a link finds that does not heal by itself. Held by package rpcmesh.
var LinkMistakes = Group{
	Title: "Links that do not come up until something is set",
	About: "`Link.Ready` and `rpcmesh.Dial` return these at once, with the URL; a node goes on trying. They are logged as " +
		"errors at once, and again after 3 s and at longer and longer intervals. A proxy's texts name the fields of `ProxyConfig`.",
	Rows: []Row{
		{
			ID: "tls-by-http", When: "A link by http leads to a node that serves TLS", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks TLS: link to https://a",
			Log:  "link down … url=… error=failed_precondition: …",
			Do:   "Link to the https URL. Give the dialling node the authority of the certificate in `Config.DialTLS` if it is not one of its host's.",
		},
		{
			ID: "tls-by-http-proxy", When: "A link by http leads to a web server's port for TLS", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks TLS: link to https://a",
			Log:  "link down … url=… error=failed_precondition: …",
			Do:   "As above: such a server answers in HTTP/1.",
		},
		{
			ID: "tls-by-http-alert", When: "A link by http leads to another server that speaks TLS", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks TLS: link to https://a",
			Log:  "link down … url=… error=failed_precondition: …",
			Do:   "As above: such a server answers with an alert of TLS.",
		},
		{
			ID: "http-by-https", When: "A link by https leads to a node in cleartext", Code: "failed_precondition",
			Text: "rpcmesh: no link to https://a: the server at a does not speak TLS (it begins with \"HTTP/\"): link to http://a, " +
				"or set Config.TLS at the node",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Set `Config.TLS` at the node, or link to its http URL within a network that you trust.",
		},
		{
			ID: "http1", When: "A link leads to an HTTP/1 server, such as a Go `http.Server` with the node's handler but without HTTP/2 in cleartext", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks HTTP/1 only (\"HTTP/1.1 400 Bad Request\"): let it speak " +
				"HTTP/2 (a Go http.Server: set SetUnencryptedHTTP2 of its Protocols; nginx: http2 on, and grpc_pass), or link " +
				"to where the node is",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Set `Protocols` of that server, with `SetUnencryptedHTTP2(true)`, or serve the node by `Node.Serve`. Let a proxy speak HTTP/2 to both sides.",
		},
		{
			ID: "ssh", When: "A link leads to the port of another protocol (SSH)", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks another protocol, not HTTP/2 (it begins with " +
				"\"SSH-2.0-OpenSSH_9.6\"): correct the URL's host and port",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Correct the host and the port of the URL.",
		},
		{
			ID: "redis", When: "A link leads to the port of another protocol (Redis)", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a speaks another protocol, not HTTP/2 (it begins with \"-ERR " +
				"unknown command 'PRI'\"): correct the URL's host and port",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Correct the host and the port of the URL.",
		},
		{
			ID: "path", When: "There is a server, but no node at the URL's path", Code: "not_found",
			Text: "rpcmesh: no link to http://a/mesh: the server at a answered with HTTP status 404: no node is there: link to " +
				"where Node.Serve listens, or to the path under which Node.Mount is served, now \"/mesh/\"",
			Log: "link down … url=… error=not_found: …",
			Do:  "Link to the path under which the node is mounted, with `http.StripPrefix` before it; `Node.Serve` has it at the root. A server that knows no rpcmesh answers so too.",
		},
		{
			ID: "other-server", When: "A link leads to a server of another kind, such as a gRPC server", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a answered with HTTP status 415: no node is there: link to where " +
				"Node.Serve listens, or to the path under which Node.Mount is served, now \"/\"",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Link to a node. What other servers have is brought into a mesh by package adopt.",
		},
		{
			ID: "website", When: "A link leads to a website", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a answered with content type \"text/html\", which is no node's: " +
				"link to where a node listens",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Link to where a node listens.",
		},
		{
			ID: "redirect", When: "A link is redirected", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a answered with HTTP status 301: link to where it redirects, " +
				"\"https://a.example/\", if the node is there",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Links follow no redirects: link to where the node is.",
		},
		{
			ID: "credentials", When: "A proxy or middleware in front of a node wants credentials", Code: "unauthenticated",
			Text: "rpcmesh: no link to http://a: the server (\"nginx\") at a answered with HTTP status 401: a proxy or middleware " +
				"wants credentials: let it pass POST /rpcmesh.link.v1.LinkService/Session, for which nodes prove their secret",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Exempt the path of links: nodes prove `Config.Secret` to each other. Or have `Config.Dial` make the connection.",
		},
		{
			ID: "forbidden", When: "A proxy or middleware in front of a node forbids links", Code: "permission_denied",
			Text: "rpcmesh: no link to http://a: the server (\"envoy\") at a answered with HTTP status 403: a proxy or middleware " +
				"forbids it: let it pass POST /rpcmesh.link.v1.LinkService/Session",
			Log: "link down … url=… error=permission_denied: …",
			Do:  "Let it pass POST requests for the path of links.",
		},
		{
			ID: "misdirected", When: "A proxy does not serve the host of the URL", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: the server at a answered with HTTP status 421: it does not serve this host: " +
				"correct the URL's, or the proxy's names",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Link by a name that the proxy serves, or teach it this one.",
		},
		{
			ID: "socket-not-permitted", When: "A process may not connect to a node's Unix socket", Code: "permission_denied",
			Text: "rpcmesh: no link to unix:///run/node.sock: this process may not connect to /run/node.sock: let its user write " +
				"to that socket, and search its directory",
			Log: "link down … url=… error=permission_denied: …",
			Do:  "Give its user the right to write to the socket, and to search the directory that it is in.",
		},
		{
			ID: "unknown-authority", When: "A certificate's authority is not known", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the certificate of the server at a is refused: x509: certificate signed by " +
				"unknown authority: put the authority's certificate into RootCAs of Config.DialTLS",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Put the authority's certificate into `RootCAs` of `Config.DialTLS` (`ProxyConfig.TLS`). Don't set InsecureSkipVerify.",
		},
		{
			ID: "wrong-name", When: "A certificate is for another name", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the certificate of the server at a is refused: x509: certificate is valid for " +
				"other.example, not a: link by a name that the certificate is for, or set ServerName in Config.DialTLS",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Link by a name that it is for, have it issued for this one too, or set `ServerName` in `Config.DialTLS`.",
		},
		{
			ID: "expired", When: "A certificate has expired", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the certificate of the server at a is refused: x509: certificate has expired " +
				"or is not yet valid: current time … is after …: renew it, or set this host's clock right",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Renew it. If it is in time, the dialling host's clock is wrong.",
		},
		{
			ID: "not-yet-valid", When: "A certificate is not valid yet", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the certificate of the server at a is refused: x509: certificate has expired " +
				"or is not yet valid: current time … is before …: set the clocks right, this host's and that of who issued it",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "A clock is wrong: the dialling host's, or that of who issued the certificate.",
		},
		{
			ID: "not-for-servers", When: "A certificate is not for servers", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the certificate of the server at a is refused: x509: certificate specifies an " +
				"incompatible key usage: give the server one that is for servers, of an authority that may issue it",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Issue the server's with the extended key usage serverAuth.",
		},
		{
			ID: "no-client-certificate", When: "A node wants a client certificate (TLS 1.3), and the dialling one has none", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the server at a wants a client certificate, and got none: set Certificates in " +
				"Config.DialTLS to one of an authority that it trusts",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Set `Certificates` of `Config.DialTLS` (`ProxyConfig.TLS`), to one of an authority in `ClientCAs` of the other's `Config.TLS`.",
		},
		{
			ID: "no-client-certificate-1.2", When: "A node wants a client certificate (TLS 1.2), and the dialling one has none", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the server at a wants a client certificate, and got none: set Certificates in " +
				"Config.DialTLS to one of an authority that it trusts",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "As above.",
		},
		{
			ID: "client-certificate", When: "A node does not accept a client certificate", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: the server at a does not accept this node's client certificate (tls: unknown " +
				"certificate authority): set Certificates in Config.DialTLS to one that is in time, for clients, and of an " +
				"authority that it trusts",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Have it issued by an authority in `ClientCAs` of the listening node's `Config.TLS`, for clients, and renew it in time.",
		},
		{
			ID: "no-version", When: "Two nodes have no version of TLS in common", Code: "failed_precondition",
			Text: "rpcmesh: no link to https://a: the server at a has no version or cipher of TLS in common with this node (tls: " +
				"protocol version not supported): see MinVersion and MaxVersion at both, here in Config.DialTLS",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Allow TLS 1.3, or at least 1.2, at both.",
		},
		{
			ID: "no-http2", When: "A server does not take HTTP/2 over TLS", Code: "failed_precondition",
			Text: "rpcmesh: no link to https://a: the server at a does not take HTTP/2 over TLS (ALPN): let it (nginx: http2 on; " +
				"a Go tls.Config: \"h2\" in NextProtos), or, as a proxy, pass TLS through",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Let the proxy offer h2 by ALPN, or pass TLS through to the node, which does.",
		},
		{
			ID: "no-alpn", When: "A server over TLS knows no ALPN", Code: "failed_precondition",
			Text: "rpcmesh: no link to https://a: the server at a does not take HTTP/2 over TLS (ALPN): let it (nginx: http2 on; " +
				"a Go tls.Config: \"h2\" in NextProtos), or, as a proxy, pass TLS through",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "As above.",
		},
		{
			ID: "tls-at-proxy", When: "A proxy ends TLS before a node", Code: "unauthenticated",
			Text: "rpcmesh: no link to https://a: link: no secret can be proven: TLS does not reach from node to node, it ends " +
				"at a proxy between them. Link by https, have the proxy pass TLS through (nginx: a stream server, HAProxy: " +
				"mode tcp), and set Config.TLS at the node behind it",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "A secret is proven for the very channel of TLS, so that nobody in between can pass the proof on. Let the proxy pass TLS through, and serve it at the node; or link by http through networks that you trust, where nothing ends TLS.",
		},
		{
			ID: "wrong-secret", When: "Two nodes have different secrets", Code: "unauthenticated",
			Text: "rpcmesh: no link to http://a: link: wrong secret: the two nodes have none in common: set the same " +
				"Config.Secret at both; spaces and line ends in it count",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Set the same `Config.Secret`, or give each the other's in `Config.Secrets` while the mesh changes over. What reads it from a file must cut the line's end off. The listening node logs it as refused.",
		},
		{
			ID: "no-secret", When: "A node without a secret links to one that has one", Code: "unauthenticated",
			Text: "rpcmesh: no link to http://a: link: the other end wants a secret, and this one has none: set the secret of " +
				"the mesh, Config.Secret or ProxyConfig.Secret",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "Set `Config.Secret` to that of the mesh.",
		},
		{
			ID: "secret-here", When: "A node with a secret links to one that has none, but `Config.Authenticate` perhaps", Code: "failed_precondition",
			Text: "rpcmesh: no link to http://a: link: one end has a secret, the dialling one, and the listening one has none: " +
				"set the same Config.Secret at both, or at neither, where Config.Authenticate alone is to decide",
			Log: "link down … url=… error=failed_precondition: …",
			Do:  "Set the secret at both. `Config.Authenticate` may decide besides.",
		},
		{
			ID: "not-admitted", When: "`Config.Authenticate` refuses a link", Code: "unauthenticated",
			Text: "rpcmesh: no link to http://a: the link is refused by Config.Authenticate: the log of the node that refuses " +
				"says why",
			Log: "link down … url=… error=unauthenticated: …",
			Do:  "The reason is in the log of the node that refused, as `link refused`; the other end is not told.",
		},
		{
			ID: "same-name", When: "Two nodes have one name", Code: "already_exists",
			Text: "rpcmesh: no link to http://a: link: two nodes have the id …, that of the name \"a\": give each node a " +
				"Config.Name of its own",
			Log: "link down … url=… error=already_exists: …",
			Do:  "Give each `Config.Name` of its own, or none: then they are named after their hosts. After a crash the earlier one is forgotten once its connections are.",
		},
		{
			ID: "namespace", When: "A node has none of the link's namespaces", Code: "not_found",
			Text: "rpcmesh: no link to http://a: node \"a\" has no namespace \"public\": give it that by Node.Namespace, Node.Group " +
				"or Node.Link there, or link with another",
			Log: "link down … url=… error=not_found: …",
			Do:  "Call `Node.Namespace` at the listening node, or correct the name. A node tells no stranger which it has.",
		},
	},
}
