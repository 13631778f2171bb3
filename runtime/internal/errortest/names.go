package errortest

// Names is what comes of names, functions and servers that cannot be. Package rpcmesh holds it.
var Names = Group{
	Title: "Namespaces, functions and servers",
	About: "Errors of `Namespace.Register`, of generated `Register…Origin` functions, of `Node.Group` and of `Node.Link`; " +
		"for a namespace whose name cannot be, of everything that is done with it.",
	Rows: []Row{
		{
			ID: "capitals", When: "The name of a namespace has capital letters", Code: "invalid_argument",
			Text: `rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`,
			Do: "Write the name in lower case in all programs and configurations: namespaces, groups, links, gateways, tokens and " +
				"the command line refuse it alike.",
		},
		{
			ID: "characters", When: "The name of a namespace has other characters", Code: "invalid_argument",
			Text: `rpcmesh: namespace "a b" may have lower-case letters, digits, '.', '_' and '-' only`,
			Do:   "Take another name: 1 to 64 of these, the first a letter or digit.",
		},
		{
			ID: "procedure", When: "The name of a function is malformed", Code: "invalid_argument",
			Text: `rpcmesh: procedure "Greet" must be of the form /pkg.Service/Method`,
			Do:   "Use generated code, whose constants are the names.",
		},
		{
			ID: "registered", When: "A function is registered where another node has it", Code: "already_exists",
			Text: `rpcmesh: /example.greet.v1.Greeter/… is already registered in namespace "public" by a (…): give one of the two another namespace, or both a policy`,
			Do: "Register it at one node; in a namespace of its own; or at all of them with `Namespace.Replicated` and one policy, where calls " +
				"are to be spread.",
		},
		{
			ID: "policy", When: "A function is registered with another policy than elsewhere", Code: "failed_precondition",
			Text: `rpcmesh: /example.greet.v1.Greeter/… is registered in namespace "public" by "a" with the policy random, not nearest: give all origins of a function one policy`,
			Do:   "Register all origins of a function with one policy.",
		},
		{
			ID: "policy-met", When: "Two nodes meet that had registered a function with different policies",
			Log: `function shadowed node=a namespace=public procedure=/test.v1.Worker/Work origin=b serving=a reason=it has the policy ` +
				`nearest, and that of a has random: register all origins of a function with one policy; another origin was registered earlier`,
			Do: "One of the two serves, the other is shadowed. Register both with one policy.",
		},
		{
			ID: "nil-server", When: "A server is registered that is nil", Code: "invalid_argument",
			Text: "rpcmesh: nothing to register: the server is nil (*…): give it one whose methods can run",
			Do:   "A pointer was declared, and nothing assigned to it.",
		},
		{
			ID: "nil-registrar", When: "A server is registered at a Registrar that is nil", Code: "invalid_argument",
			Text: "rpcmesh: nowhere to register: the Registrar is nil (*rpcmesh.Namespace): give it a namespace of a node",
			Do:   "Look at the error of what returned it: `Node.Group` returns none with one.",
		},
		{
			ID: "nil-connect-server", When: "RegisterServer is given no server", Code: "invalid_argument",
			Text: "rpcmesh: nothing to register: the Server is nil: give it one of connect.NewServer",
			Do:   "Make the `connect.Server`, and register its services, first.",
		},
		{
			ID: "url", When: "The URL of a link is malformed", Code: "invalid_argument",
			Text: `rpcmesh: "localhost:8220" is not the URL of a node; one looks like http://host:8220, https://host/path or unix:///run/node.sock`,
			Do:   "Write the scheme, too.",
		},
		{
			ID: "mounted-twice", When: "A node is mounted on a mux that has one", Code: "panic",
			Text: "rpcmesh: Node.Mount: the mux has a node already, as Node.Handler has: mount each node once, on a mux of its own (…)",
			Do: "`Node.Serve` and `Node.Handler` need no Mount. For a second node under a path, mount it on a mux of its own, and put that " +
				"behind `http.StripPrefix`.",
		},
		{
			ID: "handled-twice", When: "Node.Handle is given a pattern twice", Code: "panic",
			Text: "rpcmesh: Node.Handle: it must be given a pattern of http.ServeMux that it has not been given before, and a handler (…)",
			Do:   "Give each handler a pattern of its own.",
		},
	},
}
