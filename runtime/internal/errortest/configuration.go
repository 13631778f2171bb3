package errortest

// Configuration is what [rpcmesh.NewNode] and rpcmesh.Dial say of a Config. Held by package rpcmesh.
var Configuration = Group{
	Title: "A node's configuration",
	About: "Errors of `rpcmesh.NewNode` and `rpcmesh.Dial`, which start nothing then.",
	Rows: []Row{
		{
			ID: "no-secret", When: "Config says nothing of whom to link with", Code: "invalid_argument",
			Text: "rpcmesh: Config has no Secret: set Secret or Authenticate, or AcceptAnyone to link with whoever can reach this node",
			Do:   "Give all nodes of the mesh one secret, of `openssl rand -hex 16` say.",
		},
	},
}
