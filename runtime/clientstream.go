package rpcmesh

import (
	"cmp"
	"errors"
	"io"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// clientStream is one call as its caller's stub sees it. It implements [connect.ClientStream] and [rawcall.HeaderReceiver].
type clientStream struct {
	attempts attempts
	result   error // how the call has ended, once Receive has reported it; of Receive's goroutine only
}

func (s *clientStream) SendHeaders() error {
	for {
		call, err := s.attempts.call()
		if err != nil {
			return err
		}
		err = call.SendHeaders()
		if err == nil {
			return nil
		}
		if call.Failure() == nil {
			return s.attempts.callError(call, err)
		}
		if !s.attempts.retryAfter(call) {
			return s.attempts.end(call, err)
		}
	}
}

func (s *clientStream) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return s.attempts.sendError(err)
	}
	s.attempts.info.SendStats = connect.MessageStats{Size: len(b.B)}
	call, kept, err := s.attempts.beginSend(b)
	if errors.Is(err, errSentAll) {
		b.Free()
		return s.attempts.sendError(err)
	}
	if err != nil {
		return err
	}
	err = call.Send(b.B)
	s.attempts.endSend(err)
	if !kept {
		b.Free()
	}
	if err == nil {
		return nil
	}
	return s.sendFailed(call, b, err)
}

// sendFailed is what Send returns where sending b by call has failed.
func (s *clientStream) sendFailed(call *link.ClientCall, b *link.Buffer, err error) error {
	ended := errors.Is(err, io.EOF)
	switch {
	case !ended && call.Failure() == nil:
		s.attempts.unkeep(b) // too long, say: the call goes on
		return s.attempts.callError(call, err)
	case ended && s.attempts.singleRequest():
		return nil // Receive reports why, and tries again where that is safe
	case s.attempts.retryAfterSend(call):
		return nil // b went with the rest
	case ended:
		return err
	}
	return s.attempts.end(call, err) // it could not be opened
}

func (s *clientStream) CloseSend() error {
	if s.attempts.singleRequest() {
		return nil // went with the message
	}
	call, err := s.attempts.closeRequests()
	if err != nil {
		return err
	}
	err = call.CloseSend()
	if err == nil {
		return nil
	}
	if call.Failure() == nil {
		return s.attempts.callError(call, err)
	}
	if s.attempts.retryAfter(call) {
		return nil // the end of sending went with the rest
	}
	return s.attempts.end(call, err)
}

// ReceiveHeaders implements [rawcall.HeaderReceiver].
func (s *clientStream) ReceiveHeaders() bool {
	call, err := s.attempts.call()
	if err != nil || !call.ReceiveHeaders() {
		return false // Receive finds out why, and tries again where that is safe
	}
	return s.attempts.beginResponseOf(call) // false: it was lost with its headers, and another attempt is under way
}

func (s *clientStream) Receive(msg any) error {
	if s.result != nil {
		return s.result
	}
	b, err := s.receiveMessage()
	if err != nil {
		s.result = err
		return err
	}
	if err := unmarshal(b, msg); err != nil {
		s.attempts.close()
		s.result = s.attempts.calls.identity.invalidResponse(b, msg, err)
		return s.result
	}
	if s.attempts.spec.StreamType&connect.StreamTypeServer == 0 {
		err := s.receiveEnd()
		s.result = cmp.Or(err, io.EOF)
		return err
	}
	return nil
}

// receiveMessage returns the next message, of another attempt where the current one failed and may be
// repeated.
func (s *clientStream) receiveMessage() ([]byte, error) {
	for {
		call, err := s.attempts.call()
		if err != nil {
			s.attempts.release()
			return nil, err
		}
		b, err := call.Receive()
		if err == nil {
			s.attempts.beginResponse()
			s.attempts.info.ReceiveStats = connect.MessageStats{Size: len(b)}
			return b, nil
		}
		if !errors.Is(err, io.EOF) && s.attempts.retryAfter(call) {
			continue
		}
		return nil, s.attempts.end(call, err)
	}
}

// receiveEnd receives the end of a call that has one response, after it.
func (s *clientStream) receiveEnd() error {
	call, err := s.attempts.call()
	if err != nil {
		return err
	}
	_, err = call.Receive()
	switch {
	case err == nil:
		s.attempts.close()
		return s.attempts.calls.identity.failed(connect.CodeInternal, started, "the handler sent more than the one response of its method")
	case errors.Is(err, io.EOF):
		_ = s.attempts.end(call, err)
		return nil
	}
	return s.attempts.end(call, err)
}

func (s *clientStream) Close() error {
	s.attempts.close()
	return nil
}
