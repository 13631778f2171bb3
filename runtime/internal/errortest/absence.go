package errortest

// Absence is what calls of functions that are not there come to. Package rpcmesh holds it.
var Absence = Group{
	Title: "Functions that are not there",
	About: "Each such error has a `google.rpc.ErrorInfo` of the domain `rpcmesh` with the reason that stands here, see " +
		"`rpcmesh.ErrorInfoOf`, and says that the call has not started. What may pass is `unavailable`: " +
		"`rpcmesh.WaitForReady` has calls wait for it. A call waits by itself while a link is in its first dial or " +
		"exchange. Callers outside a gateway are told the code and the reason, and not what is known of the mesh.",
	Rows: []Row{
		{
			ID: "unknown", When: "Nobody within reach has or lately had the function (FUNCTION_UNKNOWN)", Code: "unimplemented",
			Text: `rpcmesh: no node that can be reached in namespace "public" has registered /test.v1.Worker/Work, nor has one lately; ` +
				`see whether its name and namespace are right, and the node that has it is linked`,
			Do: "Correct the name or the namespace, or link to the mesh in which it is.",
		},
		{
			ID: "misspelt", When: "There is a function of nearly that name (FUNCTION_UNKNOWN)", Code: "unimplemented",
			Text: `…; did you mean /test.v1.Worker/Work?; see whether its name and namespace are right, and the node that has it is linked`,
			Do:   "Use code generated from the .proto file that the function was registered with.",
		},
		{
			ID: "elsewhere", When: "The function is in another namespace of the caller's node (FUNCTION_UNKNOWN)", Code: "unimplemented",
			Text: `…; it is in namespace "private" of this node; see whether its name and namespace are right, and the node that has it is linked`,
			Do:   "Call it there, or join the two in a group.",
		},
		{
			ID: "withdrawn", When: "The function's origin has withdrawn it (FUNCTION_GONE)", Code: "unavailable",
			Text: `rpcmesh: /test.v1.Worker/Work of node "b" was withdrawn from namespace "public" at …: b withdrew it; ` +
				`try again, or wait for it by rpcmesh.WaitForReady`,
			Do: "It may be restarting, or an adopted server may be down. For ten minutes that is remembered.",
		},
		{
			ID: "origin-left", When: "The node that had the function has left (FUNCTION_GONE)", Code: "unavailable",
			Text: `rpcmesh: /test.v1.Worker/Work of node "b" was withdrawn from namespace "public" at …; ` +
				`try again, or wait for it by rpcmesh.WaitForReady`,
			Do: "See whether it is to come back.",
		},
		{
			ID: "link-down", When: "Nothing is known of the function, and a link of this node is down (LINK_DOWN)", Code: "unavailable",
			Text: `rpcmesh: no node that can be reached in namespace "public" has registered /test.v1.Worker/Work, nor has one lately; ` +
				`the link to http://nowhere is down: …; try again, or wait for it by rpcmesh.WaitForReady`,
			Do: "Mend the link: the text has its cause, as `Node.Links` does.",
		},
		{
			ID: "waited", When: "A call waits for its function by WaitForReady, and its time is up", Code: "deadline_exceeded",
			Text: `rpcmesh: the call waited in vain for its function: /test.v1.Worker/Work of node "b" was withdrawn …`,
			Do:   "As for the reason that the text has.",
		},
	},
}
