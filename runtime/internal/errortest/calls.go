package errortest

// Calls is what comes of calls, at their caller and at their handler. Package rpcmesh holds it.
var Calls = Group{
	Title: "Calls and handlers",
	About: "What a caller is told of a call that failed, and what the log of the handler's node has.",
	Rows: []Row{
		{
			ID: "plain-error", When: "A handler returns an error that has no code", Code: "unknown",
			Text: "the handler returned an error that callers are not told: its node's log has it (use a *connect.Error for what they may know)",
			Log:  "a handler's error is not told to its caller node=b procedure=/test.v1.Worker/Work told=unknown error=while reading: disk full",
			Do: "Read the log of the node that has the function. Return a `*connect.Error` with a code for what callers are to know; errors of gRPC's " +
				"package status and of the first version of connect keep their code, message and details.",
		},
		{
			ID: "hidden-cause", When: "A handler returns an error of code internal or unknown with a cause", Code: "internal",
			Text: "no luck, use another …",
			Log:  "a handler's error is not told to its caller node=b procedure=/test.v1.Worker/Work told=internal error=internal: no luck, use another name (disk full)",
			Do:   "Read the log of the node that has the function: the cause is for it alone.",
		},
		{
			ID: "other-call", When: "A handler returns the error of a call that it made", Code: "internal",
			Text: "the handler returned another call's error, which is not its own: its node's log has it (use a new *connect.Error to pass it on)",
			Log:  "a handler's error is not told to its caller node=b procedure=/test.v1.Worker/Work told=internal error=not_found: no such book",
			Do: "What another function refused is not what this one refuses: decide what it means for this call, and return a new `*connect.Error`. Where " +
				"it is the same, make one of the other's code and message.",
		},
		{
			ID: "panic", When: "A handler panics", Code: "internal",
			Text: "the handler failed: its node's log has why",
			Log:  "the handler panicked node=b procedure=/test.v1.Worker/Work caller.node=a … panic=…",
			Do:   "Read the log of the node that has the function: it has the panic and the stack.",
		},
		{
			ID: "no-answer", When: "A handler returns neither a response nor an error", Code: "internal",
			Text: "the handler of /example.greet.v1.Greeter/Greet returned neither a response nor an error: it must give one of them",
			Do:   "Return an empty message where there is nothing to say.",
		},
		{
			ID: "default-timeout", When: "A unary call has no deadline, and takes longer than Config.CallTimeout", Code: "deadline_exceeded",
			Text: `the call's time is up: it had no deadline, so it got the 10s of node "a"'s Config.CallTimeout; give its context a deadline, or set CallTimeout`,
			Do:   "Calls of streams have no deadline unless they are given one.",
		},
		{
			ID: "long-request", When: "A request is longer than the handler's node receives", Code: "resource_exhausted",
			Text: `the message is longer than node "b" receives: set its Limits.MaxMessage of 4194304 bytes higher, or send less at once`,
			Do:   "Send it in pieces, by a stream; or raise Limits.MaxMessage at both ends. Relays on the way do not matter.",
		},
		{
			ID: "long-request-here", When: "A request is longer than the caller's node sends", Code: "resource_exhausted",
			Text: `a message of 5242885 bytes is longer than node "a" sends: set its Limits.MaxMessage of 4194304 higher, and the receiver's, or send less at once`,
			Do:   "Send it in pieces, by a stream; or raise Limits.MaxMessage at both ends.",
		},
		{
			ID: "long-response", When: "A response is longer than the caller's node receives", Code: "resource_exhausted",
			Text: `the message is longer than node "a" receives: set its Limits.MaxMessage of 4194304 bytes higher, or send less at once`,
			Do:   "As for a request.",
		},
		{
			ID: "long-response-there", When: "A response is longer than the handler's node sends", Code: "resource_exhausted",
			Text: `a message of 5242885 bytes is longer than node "b" sends: set its Limits.MaxMessage of 4194304 higher, and the receiver's, or send less at once`,
			Do:   "As for a request.",
		},
		{
			ID: "long-headers", When: "The headers of a call are too long", Code: "resource_exhausted",
			Text: "request headers of … bytes: a call may have 65536 at most; what is longer goes into messages",
			Do:   "Headers travel with every call: keep them short.",
		},
		{
			ID: "busy", When: "A node runs as many handlers for its own calls as it may", Code: "resource_exhausted",
			Text: `rpcmesh: node "a" runs as many handlers for its own calls as its Limits.MaxCalls of 1 allows: try again later`,
			Do:   "The call has not started. Make fewer calls at once, or raise Limits.MaxCalls.",
		},
		{
			ID: "request-text", When: "A request has text that is not UTF-8", Code: "internal",
			Text: "rpcmesh: the message can't be encoded: its field example.greet.v1.GreetRequest.name is not UTF-8, as a string must be; " +
				"use a field of type bytes for what is no text",
			Do: "Convert the text, by `strings.ToValidUTF8` say.",
		},
		{
			ID: "response-text", When: "A response has text that is not UTF-8", Code: "internal",
			Text: "rpcmesh: the message can't be encoded: its field example.greet.v1.GreetResponse.greeting is not UTF-8, as a string must be; " +
				"use a field of type bytes for what is no text",
			Log: "a handler's error is not told to its caller node=b procedure=/test.v1.Worker/Work told=internal error=internal: rpcmesh: the message can't be encoded",
			Do:  "Convert the text in the handler.",
		},
		{
			ID: "received-text", When: "A caller of another language sends text that is not UTF-8", Code: "invalid_argument",
			Text: "the request is not a valid message of its type: its field example.greet.v1.GreetRequest.name is not UTF-8, as a string must be; " +
				"use a field of type bytes for what is no text",
			Do: "The caller is to convert its text.",
		},
		{
			ID: "nil-request", When: "A call is made with a nil request", Code: "invalid_argument",
			Text: "/example.greet.v1.Greeter/Greet was given a nil request: give it an empty message",
			Do:   "Nothing was sent.",
		},
		{
			ID: "no-message", When: "Something is sent that is no message of protobuf", Code: "internal",
			Text: "rpcmesh: calls carry protobuf messages, not a string: use a generated type",
			Do:   "Nothing was sent.",
		},
		{
			ID: "sent-after-close", When: "Send is called after CloseSend or CloseAndReceive", Code: "failed_precondition",
			Text: "rpcmesh: the call's requests are complete: use Send before CloseSend or CloseAndReceive, and once where there is one request",
			Do:   "Nothing was sent, and the call goes on. Close a stream of requests when the last is sent.",
		},
		{
			ID: "received-twice", When: "CloseAndReceive is called twice", Code: "failed_precondition",
			Text: "rpcmesh: CloseAndReceive was called before for this call of /example.greet.v1.Greeter/Sum: keep what it returns, or start another call",
			Do:   "There is one response, and the first call of it returned that, or the call's error.",
		},
		{
			ID: "kind", When: "A function is called as one of another kind", Code: "unimplemented",
			Text: `rpcmesh: /test.v1.Worker/Work is a unary function at node "b", and was called as a server one: use code generated from its .proto file`,
			Do:   "Generate caller and handler from the same version of the .proto file.",
		},
		{
			ID: "not-implemented", When: "A server embeds the Unimplemented… server and lacks the method", Code: "unimplemented",
			Text: "/example.greet.v1.Greeter/Greet is registered but its server does not implement it: give the server that method",
			Do:   "A function that the mesh does not have says so by another text.",
		},
		{
			ID: "closed", When: "A call is made by a node that was closed", Code: "unavailable",
			Text: "rpcmesh: the node is closed: make the call by another one, or by a new one",
			Do:   "A closed node does not come back. What else is asked of it fails with failed_precondition.",
		},
	},
}
