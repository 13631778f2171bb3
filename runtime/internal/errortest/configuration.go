package errortest

// Configuration is what NewNode and Dial say of a Config. Package rpcmesh holds it.
var Configuration = Group{
	Title: "A node's configuration",
	About: "Errors of `rpcmesh.NewNode` and `rpcmesh.Dial`, which start nothing then, and of `Node.Serve`.",
	Rows: []Row{
		{
			ID: "no-secret", When: "Config says nothing of whom to link with", Code: "invalid_argument",
			Text: "rpcmesh: Config has no Secret: set Secret or Authenticate, or AcceptAnyone to link with whoever can reach this node",
			Do:   "Give all nodes of the mesh one secret, of `openssl rand -hex 16` say.",
		},
		{
			ID: "no-secret-dial", When: "ProxyConfig says nothing of whom to call", Code: "invalid_argument",
			Text: "rpcmesh: ProxyConfig has no Secret: set Secret to the node's, or AcceptAnyone to call whoever answers",
			Do:   "Give the proxy the secret of the mesh.",
		},
		{
			ID: "secret-and-anyone", When: "Config has a secret and AcceptAnyone", Code: "invalid_argument",
			Text: "rpcmesh: Config.AcceptAnyone contradicts Config.Secret and Config.Secrets: set one of them",
			Do:   "Leave AcceptAnyone unset where there is a secret.",
		},
		{
			ID: "authenticate-and-anyone", When: "Config has Authenticate and AcceptAnyone", Code: "invalid_argument",
			Text: "rpcmesh: Config.AcceptAnyone contradicts Config.Authenticate: set one of them",
			Do:   "Leave AcceptAnyone unset where Authenticate decides.",
		},
		{
			ID: "secret-and-secrets", When: "Config has both Secret and Secrets", Code: "invalid_argument",
			Text: "rpcmesh: both Config.Secret and Config.Secrets: set one of them, Secrets with the preferred one first",
			Do:   "Move Secret into Secrets.",
		},
		{
			ID: "many-secrets", When: "Config.Secrets has more than eight entries", Code: "invalid_argument",
			Text: "rpcmesh: Config.Secrets has 9 entries, and may have 8 at most",
			Do:   "Keep those that nodes of the mesh still have.",
		},
		{
			ID: "empty-secret", When: "An entry of Config.Secrets is empty", Code: "invalid_argument",
			Text: "rpcmesh: Config.Secrets[1] must not be empty",
			Do:   "See where the secrets are read from: an empty line, or a variable that is not set.",
		},
		{
			ID: "short-secret", When: "A node listens beyond its host with a short secret", Code: "invalid_argument",
			Text: "rpcmesh: a secret of 5 bytes is for links within one host only: beyond, it takes 16 or more; make one that nobody can guess, say by: openssl rand -hex 16",
			Do:   "Give all nodes a longer secret, or listen at 127.0.0.1.",
		},
		{
			ID: "no-certificate", When: "Config.TLS has no certificate", Code: "invalid_argument",
			Text: "rpcmesh: Config.TLS has no certificate to serve with: set its Certificates or GetCertificate",
			Do:   "`Node.Serve` says it: load the certificate and its key with `tls.LoadX509KeyPair`.",
		},
		field("name", "Config.Name is too long, or has characters that cannot be printed",
			"Config.Name must be printable text of at most 128 bytes"),
		field("addresses", "Config.Addresses has too many entries", "Config.Addresses may have 16 entries at most, and has 17"),
		field("address", "An entry of Config.Addresses is too long, or cannot be printed",
			"Config.Addresses[1] must be printable text of at most 256 bytes"),
		field("metadata", "Config.Metadata is too large", "Config.Metadata may have 32 entries and 4096 bytes at most, and has 33 and …"),
		field("metadata-text", "Config.Metadata is not text", `Config.Metadata must be UTF-8: that of the key "k" is not`),
		field("interceptor", "An entry of Config.Interceptors is nil", "Config.Interceptors[0] must not be nil"),
		field("lame-duck", "Config.LameDuck is negative", "Config.LameDuck must not be negative, and is -1s"),
		field("keepalive", "Config.Keepalive is too short", "Config.Keepalive must be 100 ms or more, and is 1ms"),
		field("redial-min", "Config.RedialMin is too short", "Config.RedialMin must be 1 ms or more, and is 1µs"),
		field("redial-max", "Config.RedialMax is less than RedialMin",
			"Config.RedialMax must be no less than Config.RedialMin, which is 1m0s, and is 1s"),
		field("max-message", "Limits.MaxMessage is out of bounds", "Limits.MaxMessage must be between 1 and 1073741824, and is -1"),
		field("window", "Limits.Window is out of bounds", "Limits.Window must be between 64 and 1073741824, and is 63"),
		field("max-calls", "Limits.MaxCalls is out of bounds", "Limits.MaxCalls must be between 1 and 65536, and is 65537"),
		field("link-memory", "Limits.LinkMemory is negative", "Limits.LinkMemory must be 1 or more, and is -1"),
		field("node-memory", "Limits.NodeMemory is negative", "Limits.NodeMemory must be 1 or more, and is -1"),
		field("max-conns", "Limits.MaxConns is negative", "Limits.MaxConns must be 1 or more, and is -1"),
		field("max-conns-per-host", "Limits.MaxConnsPerHost is negative", "Limits.MaxConnsPerHost must be 1 or more, and is -1"),
	},
}

// field is the row of a field of a node's configuration.
func field(id, when, text string) Row {
	return Row{
		ID: id, When: when, Code: "invalid_argument", Text: "rpcmesh: " + text,
		Do: "Change the field that is named, or leave it out for its default.",
	}
}
