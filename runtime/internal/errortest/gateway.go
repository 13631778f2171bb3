package errortest

// GatewayConfiguration is what gateway.New and Mount say of a Config. Package gateway holds it.
var GatewayConfiguration = Group{
	Title: "A gateway's configuration",
	About: "Errors of `gateway.New`, `gateway.Mount` and `gateway.NewTokens`.",
	Rows: []Row{
		{
			ID: "nobody", When: "A gateway's Config says nothing of who may call", Code: "invalid_argument",
			Text: "gateway: Config does not say who may call: set Tokens or Authorize, or Open to let anyone",
			Do:   "Make tokens by `rpcmesh token` or `gateway.HashToken`.",
		},
		{
			ID: "tokens-and-authorize", When: "A gateway's Config has Tokens and Authorize", Code: "invalid_argument",
			Text: "gateway: Config.Tokens stands beside Config.Authorize: set one of them",
			Do:   "An Authorize of your own may call `Tokens.Authorize`.",
		},
		{
			ID: "open-and-tokens", When: "A gateway's Config is Open and has Tokens or Authorize", Code: "invalid_argument",
			Text: "gateway: Config.Open contradicts Config.Authorize and Config.Tokens: set one of them",
			Do:   "Leave Open unset where not everyone may call.",
		},
		{
			ID: "nil-node", When: "A gateway is made without a node", Code: "invalid_argument",
			Text: "gateway: the node is nil: give it one of rpcmesh.NewNode",
			Do:   "Look at the error of what made the node.",
		},
		{
			ID: "mounted-twice", When: "A second gateway is mounted on a node", Code: "already_exists",
			Text: `gateway: the node does not take a gateway at "/" (…): one gateway serves all that Config.Namespaces names, ` +
				`and another one must be given a mux, or a node, of its own`,
			Do: "Put all namespaces into one gateway's Config. Where two need other rules, serve the second by `gateway.New` on a mux, and a port, of its own.",
		},
		gatewayField("namespace", "A gateway's Config.Namespace cannot be", `Namespace: namespace "Public" has capital letters: call it "public" everywhere`),
		gatewayField("namespaces", "An entry of a gateway's Config.Namespaces cannot be", `Namespaces[1]: namespace "" must not be empty`),
		gatewayField("many-namespaces", "A gateway's Config.Namespaces has too many entries", "Namespaces may have 256 entries at most, and has 257"),
		gatewayField("max-calls", "A gateway's Config.MaxCalls is negative", "MaxCalls must not be negative, and is -1"),
		gatewayField("max-calls-per-caller", "A gateway's Config.MaxCallsPerCaller is negative", "MaxCallsPerCaller must not be negative, and is -1"),
		gatewayField("max-message", "A gateway's Config.MaxMessage is negative", "MaxMessage must not be negative, and is -1"),
		gatewayField("max-json", "A gateway's Config.MaxJSON is out of bounds", "MaxJSON must be 1073741824 at most, and is 1073741825"),
		gatewayField("cors", "A gateway's Config.CORS names no origins", `CORS.Origins must be given, none of them empty: one looks like "https://app.example.com"`),
		tokenField("token-name", "A token has no name", "gateway: token 1 of the list has no name: set Name, by which errors call it"),
		tokenField("token-hash", "A token's hash is none", `gateway: token "ci": SHA256 must be 64 hexadecimal digits`),
		tokenField("token-namespaces", "A token is for no namespace", `gateway: token "ci": Namespaces must be given, those in which it may be used`),
		tokenField("token-namespace", "A token is for a namespace that cannot be",
			`gateway: token "ci": Namespaces: namespace "Public" has capital letters: call it "public" everywhere`),
		tokenField("token-functions", "A token's Functions do not begin with a slash", `gateway: token "ci": Functions must begin with "/", like /pkg.Service/`),
	},
}

func gatewayField(id, when, text string) Row {
	return Row{
		ID: id, When: when, Code: "invalid_argument", Text: "gateway: Config." + text,
		Do: "Change the field that is named, or leave it out for its default.",
	}
}

func tokenField(id, when, text string) Row {
	return Row{ID: id, When: when, Code: "invalid_argument", Text: text, Do: "`rpcmesh token` prints entries that are whole."}
}

// GatewayCalls is what callers from outside are told by a gateway. Package gateway holds it.
var GatewayCalls = Group{
	Title: "Calls through a gateway",
	About: "What the gateway itself tells callers from outside, in the form of their protocol. What the mesh and the handler say passes through it.",
	Rows: []Row{
		{
			ID: "media-type", When: "A request has a Content-Type that is none of the protocols'", Code: "415",
			Text: "the request's Content-Type is none of those for a unary function: use one of application/json, …",
			Do:   "Plain HTTP calls of unary functions have application/json. The header Accept-Post has the list, too.",
		},
		{
			ID: "path", When: "A request's path is none of a function's", Code: "unimplemented",
			Text: "the path is none of a function's: one looks like /pkg.Service/Method or /ns/NAMESPACE/pkg.Service/Method",
			Do:   "Where the gateway stands behind a path, `http.StripPrefix` takes that away.",
		},
		{
			ID: "namespace", When: "A request names a namespace that the gateway does not serve", Code: "not_found",
			Text: `the gateway has no namespace "secret": use one that it serves`,
			Do:   "Add it to the gateway's Config.Namespaces, and make the node a member of it, if callers are to have it.",
		},
		{
			ID: "two-namespaces", When: "A request names two namespaces", Code: "invalid_argument",
			Text: "the path and the header rpcmesh-namespace must not name two namespaces: leave one of them out",
			Do:   "Name it by the path or by the header.",
		},
		{
			ID: "no-token", When: "A call has no token", Code: "unauthenticated",
			Text: "the call must be given a header Authorization: Bearer TOKEN",
			Do:   "`rpcmesh token` makes one, and the entry for the gateway.",
		},
		{
			ID: "malformed-token", When: "A call's Authorization header is malformed", Code: "unauthenticated",
			Text: "the header Authorization must be: Bearer TOKEN",
			Do:   "The word Bearer, a space, and the token as it was printed.",
		},
		{
			ID: "unknown-token", When: "A call's token is not known", Code: "unauthenticated",
			Text: "the token is not known, or was revoked: ask for another one",
			Do:   "See whether the gateway has read its list of tokens again (SIGHUP, `Tokens.Replace`).",
		},
		{
			ID: "token-elsewhere", When: "A call's token is for other namespaces", Code: "permission_denied",
			Text: `the token "ci" is not for the namespace "public": use one that is`,
			Do:   "Widen Namespaces of the token's entry, if its caller is to have the function.",
		},
		{
			ID: "token-other-function", When: "A call's token is for other functions", Code: "permission_denied",
			Text: `the token "greet" is not for this function: use one that is`,
			Do:   "Widen Functions of the token's entry, if its caller is to have the function.",
		},
		{
			ID: "not-admitted", When: "Authorize fails with an error that has no code", Code: "unauthenticated",
			Text: "the gateway does not admit the call: its log has why",
			Log:  "a call was not admitted by an error that its caller is not told … error=the list is locked",
			Do:   "Return a *connect.Error from Authorize for what callers are to know.",
		},
		{
			ID: "long-request", When: "A request is longer than the gateway takes", Code: "resource_exhausted",
			Text: "the request is longer than the gateway takes: set its Config.MaxMessage of 4194304 bytes higher, or send less at once",
			Do:   "The default is the node's Limits.MaxMessage, which bounds messages in the mesh: raise both.",
		},
		{
			ID: "busy", When: "A gateway has as many calls as it may", Code: "resource_exhausted",
			Text: "the gateway has 1 calls under way, as many as its Config.MaxCalls allows: try again later",
			Do:   "The call has not started. Raise MaxCalls, or spread the callers over more nodes.",
		},
		{
			ID: "busy-caller", When: "One caller has as many calls as it may", Code: "resource_exhausted",
			Text: "1 calls from this address are under way, and the gateway takes no more of one caller, by its Config.MaxCallsPerCaller: wait for some to end",
			Do:   "The call has not started. Callers behind one proxy have one address: give each a token, or raise MaxCallsPerCaller.",
		},
	},
}
