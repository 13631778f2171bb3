package rpcmesh

import (
	"context"

	"connectrpc.com/connect/v2"
)

// NewClientStream makes the namespace a [connect.Transport] for generated clients: it opens a call of
// spec's function at the origin that the table names. Where there is none, the call waits as long as a link
// of this node is in its first dial or exchange of tables, or is dialled again at once after it broke. Then it
// fails: with unimplemented where nobody within reach has or lately had the function, which says what may have
// been meant; with unavailable where it may yet come, or the node is closed. [ErrorInfoOf] tells more, and
// [WaitForReady] has calls wait for what may come. A unary
// call without a deadline gets [Config.CallTimeout]. A call that fails in the mesh carries a
// [Failure], see [FailureOf]; one that certainly did not start, or that its method allows
// to repeat, is tried again within its deadline: see Retries in the package's documentation. The stream's
// Send returns io.EOF where the call has ended; Receive says how.
func (ns *Namespace) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	return ns.newClientStream(ctx, spec, false)
}

// newClientStream is NewClientStream. With callerBlocks, the caller is in Send or Receive until the call has ended, and then
// closes the stream.
func (ns *Namespace) newClientStream(ctx context.Context, spec connect.Spec, callerBlocks bool) (connect.ClientStream, error) {
	if ns.err != nil {
		return nil, ns.node.identity.failedBy(ns.err, notStarted)
	}
	if ns.node.life.ctx.Err() != nil {
		return nil, ns.node.identity.nodeClosedError()
	}
	info, ok := connect.CallInfoForClientContext(ctx)
	if !ok {
		ctx, info = connect.NewClientContext(ctx)
	}
	info.Spec = spec
	info.Protocol, info.Codec = protocolName, connect.CodecNameProto
	info.RequestEncoding, info.ResponseEncoding = connect.CompressionNameIdentity, connect.CompressionNameIdentity
	s := &clientStream{attempts: attempts{calls: ns.node.calls, namespace: ns.name, ctx: ctx, spec: spec, info: info, callerBlocks: callerBlocks}}
	deadline, limited := ctx.Deadline()
	if limited {
		s.attempts.deadline.at = deadline
	} else if spec.StreamType == connect.StreamTypeUnary {
		s.attempts.deadline = ns.node.calls.defaultDeadline()
	}
	if err := s.attempts.awaitRoute(); err != nil {
		return nil, err
	}
	s.attempts.start()
	return s, nil
}
