// Package bridge passes calls on between plain Connect, gRPC and gRPC-Web and the mesh, message by
// message and undecoded. It goes both ways: package gateway's calls come in by HTTP and go on into the
// mesh, those of an adopted server come in by the mesh and go on by HTTP.
//
// # What arrives
//
// Messages arrive byte for byte and in order, one at a time: none is read before the one before it has
// been handed on, so a slow receiver slows its sender. Headers and trailers arrive but for those that
// belong to a connection or a protocol, see [Forwarded]. A verdict arrives with its code, message and
// details, see [Verdict]. The deadline and the end of the call's context go along.
//
// The headers of a stream of responses go on when they come, where what calls are made through shows them
// before there is a response, as the mesh does ([rawcall.HeaderReceiver]).
package bridge
