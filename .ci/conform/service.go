package main

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	conformancev1 "github.com/rpcmesh/rpcmesh/ci/conform/gen/connectrpc/conformance/v1"
	"github.com/rpcmesh/rpcmesh/ci/conform/gen/connectrpc/conformance/v1/conformancev1rpcmesh"
)

// service is the conformance service on the project's own stubs, as service.proto describes it. Method
// Unimplemented stays so.
type service struct {
	conformancev1rpcmesh.UnimplementedConformanceServiceServer
}

func (service) Unary(ctx context.Context, req *conformancev1.UnaryRequest) (*conformancev1.UnaryResponse, error) {
	payload, err := answer(ctx, req.GetResponseDefinition(), []proto.Message{req})
	return &conformancev1.UnaryResponse{Payload: payload}, err
}

func (service) IdempotentUnary(ctx context.Context, req *conformancev1.IdempotentUnaryRequest) (*conformancev1.IdempotentUnaryResponse, error) {
	payload, err := answer(ctx, req.GetResponseDefinition(), []proto.Message{req})
	return &conformancev1.IdempotentUnaryResponse{Payload: payload}, err
}

func (service) ClientStream(ctx context.Context, stream conformancev1rpcmesh.ConformanceServiceClientStreamServerStream) (*conformancev1.ClientStreamResponse, error) {
	var definition *conformancev1.UnaryResponseDefinition
	var requests []proto.Message
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		if len(requests) == 0 {
			definition = req.GetResponseDefinition()
		}
		requests = append(requests, req)
	}
	payload, err := answer(ctx, definition, requests)
	return &conformancev1.ClientStreamResponse{Payload: payload}, err
}

func (service) ServerStream(ctx context.Context, req *conformancev1.ServerStreamRequest, stream conformancev1rpcmesh.ConformanceServiceServerStreamServerStream) error {
	r := &responses{ctx: ctx, definition: req.GetResponseDefinition(), headers: stream.SendHeaders, send: func(p *conformancev1.ConformancePayload) error {
		return stream.Send(&conformancev1.ServerStreamResponse{Payload: p})
	}}
	r.requests = []proto.Message{req}
	return r.all()
}

func (service) BidiStream(ctx context.Context, stream conformancev1rpcmesh.ConformanceServiceBidiStreamServerStream) error {
	r := &responses{ctx: ctx, headers: stream.SendHeaders, send: func(p *conformancev1.ConformancePayload) error {
		return stream.Send(&conformancev1.BidiStreamResponse{Payload: p})
	}}
	first, fullDuplex := true, false
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		if first {
			r.definition, fullDuplex = req.GetResponseDefinition(), req.GetFullDuplex()
			first = false
		}
		r.requests = append(r.requests, req)
		if !fullDuplex {
			continue
		}
		if r.sent == len(r.definition.GetResponseData()) {
			break
		}
		if err := r.next(); err != nil {
			return err
		}
		r.requests = nil
	}
	return r.all()
}

// answer is the outcome of a call with one response.
func answer(ctx context.Context, definition *conformancev1.UnaryResponseDefinition, requests []proto.Message) (*conformancev1.ConformancePayload, error) {
	add(ctx, definition.GetResponseHeaders(), definition.GetResponseTrailers())
	if err := wait(ctx, definition.GetResponseDelayMs()); err != nil {
		return nil, err
	}
	info, err := requestInfo(ctx, requests, true)
	if err != nil {
		return nil, err
	}
	if definition.GetError() != nil {
		return nil, errorOf(definition.GetError(), info)
	}
	return &conformancev1.ConformancePayload{Data: definition.GetResponseData(), RequestInfo: info}, nil
}

// responses sends what a streaming call is to answer.
type responses struct {
	ctx        context.Context
	definition *conformancev1.StreamResponseDefinition
	requests   []proto.Message // not yet echoed
	headers    func() error
	send       func(*conformancev1.ConformancePayload) error
	sent       int
}

// next sends one response, which is there.
func (r *responses) next() error {
	payload := &conformancev1.ConformancePayload{Data: r.definition.GetResponseData()[r.sent]}
	if r.sent == 0 {
		add(r.ctx, r.definition.GetResponseHeaders(), r.definition.GetResponseTrailers())
		if err := r.headers(); err != nil {
			return err
		}
	}
	if len(r.requests) > 0 {
		var err error
		if payload.RequestInfo, err = requestInfo(r.ctx, r.requests, r.sent == 0); err != nil {
			return err
		}
	}
	if err := wait(r.ctx, r.definition.GetResponseDelayMs()); err != nil {
		return err
	}
	r.sent++
	return r.send(payload)
}

// all sends the responses that are left, and the error.
func (r *responses) all() error {
	for r.sent < len(r.definition.GetResponseData()) {
		if err := r.next(); err != nil {
			return err
		}
		r.requests = nil
	}
	if r.sent > 0 {
		return errorOf(r.definition.GetError(), nil)
	}
	add(r.ctx, r.definition.GetResponseHeaders(), r.definition.GetResponseTrailers())
	info, err := requestInfo(r.ctx, r.requests, true)
	if err != nil {
		return err
	}
	return errorOf(r.definition.GetError(), info)
}

// add sets what is to go out besides messages.
func add(ctx context.Context, headers, trailers []*conformancev1.Header) {
	info, _ := connect.CallInfoForServerContext(ctx)
	for _, h := range headers {
		for _, v := range h.GetValue() {
			info.ResponseHeader().Add(h.GetName(), v)
		}
	}
	for _, h := range trailers {
		for _, v := range h.GetValue() {
			info.ResponseTrailer().Add(h.GetName(), v)
		}
	}
}

// requestInfo is what the service saw of the call; whole, with headers and the time left.
func requestInfo(ctx context.Context, requests []proto.Message, whole bool) (*conformancev1.ConformancePayload_RequestInfo, error) {
	info := new(conformancev1.ConformancePayload_RequestInfo)
	for _, req := range requests {
		packed, err := anypb.New(req)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, err.Error())
		}
		info.Requests = append(info.Requests, packed)
	}
	if !whole {
		return info, nil
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	for name, values := range call.RequestHeader().All() {
		info.RequestHeaders = append(info.RequestHeaders, &conformancev1.Header{Name: name, Value: slices.Clone(values)})
	}
	if deadline, ok := ctx.Deadline(); ok {
		info.TimeoutMs = new(time.Until(deadline).Milliseconds())
	}
	return info, nil
}

// errorOf returns the error that is asked for, with what is known of the request where nothing else has
// told it.
func errorOf(e *conformancev1.Error, info *conformancev1.ConformancePayload_RequestInfo) error {
	if e == nil {
		return nil
	}
	err := connect.NewError(connect.Code(e.GetCode()), e.GetMessage())
	details := e.GetDetails()
	if info != nil {
		packed, failed := anypb.New(info)
		if failed != nil {
			return connect.NewError(connect.CodeInternal, failed.Error())
		}
		details = append(details, packed)
	}
	for _, d := range details {
		err = err.WithDetail(&connect.ErrorDetail{Type: string(d.MessageName()), Value: d.GetValue()})
	}
	return err
}

// wait waits for some milliseconds, unless the call ends before.
func wait(ctx context.Context, ms uint32) error {
	if ms == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	}
}
