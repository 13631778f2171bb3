package errortest

// AdoptConfiguration is what adopt.New says of a Config. Package adopt holds it.
var AdoptConfiguration = Group{
	Title: "An adopted server's configuration",
	About: "Errors of `adopt.New`, which adopts nothing then.",
	Rows: []Row{
		{
			ID: "nil-node", When: "A server is adopted without a node", Code: "invalid_argument",
			Text: "adopt: the node is nil: give it one of rpcmesh.NewNode",
			Do:   "Look at the error of what made the node.",
		},
		{
			ID: "url", When: "The URL of an adopted server is malformed", Code: "invalid_argument",
			Text: "adopt: this is not the URL of a server: one looks like http://host:50051 or https://host/path",
			Do:   "Write the scheme, too.",
		},
		{
			ID: "url-user", When: "The URL of an adopted server has credentials", Code: "invalid_argument",
			Text: "adopt: the URL of a server has no query, fragment or user: give credentials by Config.Header",
			Do:   "Put them into the header Authorization, in Config.Header.",
		},
		{
			ID: "namespace", When: "The namespace of an adopted server cannot be", Code: "invalid_argument",
			Text: `rpcmesh: namespace "Public" has capital letters: call it "public" everywhere`,
			Do:   "Change Config.Namespace.",
		},
		{
			ID: "policy", When: "There is no such policy", Code: "invalid_argument",
			Text: "rpcmesh: there is no policy 9: use PolicySingle, PolicyRoundRobin, PolicyRandom, PolicyLeastPending or PolicyNearest",
			Do:   "Change Config.Policy.",
		},
		adoptField("protocol", "An adopted server's protocol is none", "Config.Protocol must be GRPC, GRPCWeb or Connect, and is 9"),
		adoptField("header", "An adopted server's header cannot be sent", `Config.Header must have keys and values that HTTP allows: those of "a b" are not`),
		adoptField("probe-interval", "Config.ProbeInterval is too short", "Config.ProbeInterval must be 1 ms or more, and is 1ns"),
		adoptField("probe-timeout", "Config.ProbeTimeout is too short", "Config.ProbeTimeout must be 1 ms or more, and is 1ns"),
		adoptField("retry-min", "Config.RetryMin is too short", "Config.RetryMin must be 1 ms or more, and is 1ns"),
		adoptField("retry-max", "Config.RetryMax is less than RetryMin", "Config.RetryMax must be no less than Config.RetryMin, which is 1m0s, and is 1s"),
		adoptField("max-message", "An adopted server's Limits.MaxMessage is out of bounds", "Limits.MaxMessage must be between 1 and 1073741824, and is -1"),
		adoptField("max-calls", "An adopted server's Limits.MaxCalls is out of bounds", "Limits.MaxCalls must be between 1 and 1048576, and is -1"),
		adoptField("max-services", "An adopted server's Limits.MaxServices is out of bounds", "Limits.MaxServices must be between 1 and 65536, and is -1"),
		adoptField("max-files", "An adopted server's Limits.MaxFiles is out of bounds", "Limits.MaxFiles must be between 1 and 1048576, and is -1"),
		adoptField("max-descriptors", "An adopted server's Limits.MaxDescriptors is out of bounds", "Limits.MaxDescriptors must be between 1 and 67108864, and is -1"),
		adoptField("descriptors", "Config.Descriptors is no descriptor set", "Config.Descriptors must be a FileDescriptorSet as buf build -o writes it"),
		adoptField("descriptors-length", "Config.Descriptors is too long", "Config.Descriptors has … bytes: set Limits.MaxDescriptors of 10 higher"),
		adoptField("services", "Config.Services names a service that there is not",
			`the schema has no service "Greeter": Config.Services must be full names, like pkg.v1.Service`),
	},
}

func adoptField(id, when, text string) Row {
	return Row{
		ID: id, When: when, Code: "invalid_argument", Text: "adopt: " + text,
		Do: "Change the field that is named, or leave it out for its default.",
	}
}
