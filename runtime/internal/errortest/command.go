package errortest

// Command is what the command line says of its flags and files. The test beside it holds it, by the program itself: a
// command's package can't import this one.
var Command = Group{
	Title: "The command line",
	About: "What `rpcmesh` writes to standard error, behind its name and the command's. Mistakes end with exit code 2, failures with 1. " +
		"What the library says of the same mistakes stands above.",
	Rows: []Row{
		usage("no-config", "rpcmesh node is given no file", "rpcmesh node: -config FILE is missing: give the one that describes the node",
			"`rpcmesh node -h` shows one."),
		usage("no-secret", "There is no secret", "rpcmesh node: the mesh's secret is missing: give a file with it (-secret-file, or secret_file in the node's file), "+
			"set RPCMESH_SECRET, or link with anyone (-accept-anyone, or accept_anyone)", "Nodes of one mesh share one secret."),
		usage("secret-and-anyone", "There is a file with a secret, and anyone is accepted", "rpcmesh node: a file with a secret (-secret-file, or secret_file) "+
			"contradicts accepting anyone: give one of them", "Leave accept_anyone out."),
		usage("unknown-field", "A file has a field that there is not", `rpcmesh node: node.json, line 2: json: unknown field "named" (use -h to see what it may have)`,
			"`rpcmesh node -h` lists the fields."),
		usage("wrong-type", "A field of a file has a value of the wrong type", "rpcmesh node: node.json, line 2: json: cannot unmarshal … (use -h to see what it may have)",
			"`rpcmesh node -h` shows values of all fields."),
		usage("duration", "A duration of a file is none", `rpcmesh node: node.json, line 2: "soon" is no duration like "10s" (use -h to see what it may have)`,
			"Write a number and a unit."),
		usage("alone", "A node neither listens nor links", `rpcmesh node: there is neither "listen" nor "links", and the node would be alone: give one of them`,
			"Name where other nodes are, or where they are to link to."),
		usage("namespace", "A namespace of a file cannot be",
			`rpcmesh node: node.json: namespaces[1]: invalid_argument: rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`,
			"Write it in lower case everywhere."),
		usage("group", "A group of a file cannot be", `rpcmesh node: node.json: groups[0]: invalid_argument: rpcmesh: group "all" has no members: give it some`,
			"Name the namespaces that the group has."),
		usage("link", "The URL of a link of a file is malformed", `rpcmesh node: node.json: links[0]: invalid_argument: rpcmesh: "host:8220" is not the URL of a node; `+
			`one looks like http://host:8220, https://host/path or unix:///run/node.sock`, "Write the scheme, too."),
		usage("link-namespace", "A namespace of a link of a file cannot be",
			`rpcmesh node: node.json: links[0]: invalid_argument: rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`,
			"Write it in lower case everywhere."),
		usage("listen", "An address to listen at is malformed",
			`rpcmesh node: node.json: listen[0]: "8220" is no address to listen at: one looks like 0.0.0.0:8220 or unix:///run/node.sock`, "Write host and port."),
		usage("tls", "There is half of what TLS needs", "rpcmesh node: TLS to listen with needs a certificate and its key, and no server name: "+
			"give cert_file and key_file, and no server_name", "The key is in a file of its own."),
		usage("gateway-nobody", "A gateway's part of a file says nothing of who may call",
			`rpcmesh node: node.json: gateway: nothing says who may call: give "tokens_file", or "open" to let anyone`, "`rpcmesh token` makes tokens."),
		usage("gateway-both", "A gateway's part of a file is open and has tokens",
			`rpcmesh node: node.json: gateway: "open" contradicts "tokens_file": give one of them`, "Leave open out where not everyone may call."),
		usage("gateway-namespace", "A gateway's namespace in a file cannot be",
			`rpcmesh node: node.json: gateway: invalid_argument: rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`,
			"Write it in lower case everywhere."),
		usage("adopt-protocol", "An adopted server's protocol in a file is none",
			`rpcmesh node: node.json: adopt[0]: invalid_argument: adopt: there is no protocol "soap": use grpc, grpcweb or connect`, "Default: grpc."),
		usage("adopt-policy", "An adopted server's policy in a file is none",
			`rpcmesh node: node.json: adopt[0]: there is no policy "all": use one of single, round-robin, random, least-pending, nearest`, "Default: single."),
		usage("ls-namespace", "A command is given a namespace that cannot be",
			`rpcmesh ls: invalid_argument: rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`, "Write it in lower case everywhere."),
		usage("token-namespace", "A token is made for a namespace that cannot be",
			`rpcmesh token: invalid_argument: gateway: token "ci": Namespaces: namespace "Public" has capital letters: call it "public" everywhere`,
			"Write it in lower case everywhere."),
		usage("flag", "A flag is unknown", "rpcmesh ls: flag provided but not defined: -lnik (use -h, which lists the flags)", "Mind the spelling."),
		usage("argument", "A flag stands behind an argument",
			`rpcmesh call: "-link" is one argument too many: flags come before arguments (use -h)`, "Move the flag before it."),
	},
}

func usage(id, when, text, do string) Row {
	return Row{ID: id, When: when, Code: "exit 2", Text: text, Do: do}
}
