package main

import (
	"context"

	"connectrpc.com/connect/v2"

	groupsv1 "github.com/rpcmesh/rpcmesh/gen/example/groups/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/groups/v1/groupsv1rpcmesh"
)

type notices struct{}

func (notices) Latest(context.Context, *groupsv1.LatestRequest) (*groupsv1.LatestResponse, error) {
	return &groupsv1.LatestResponse{Notice: "soup today"}, nil
}

type weather struct{}

func (weather) Today(context.Context, *groupsv1.TodayRequest) (*groupsv1.TodayResponse, error) {
	return &groupsv1.TodayResponse{Weather: "fog, clearing"}, nil
}

type salaries struct{}

func (salaries) Look(_ context.Context, req *groupsv1.LookRequest) (*groupsv1.LookResponse, error) {
	if req.GetName() != "Ada" {
		return nil, connect.Errorf(connect.CodeNotFound, "nobody is called %q", req.GetName())
	}
	return &groupsv1.LookResponse{Euros: 4200}, nil
}

// search is an index; there are two.
type search struct {
	index string
	hits  []string
}

func (s search) Find(context.Context, *groupsv1.FindRequest) (*groupsv1.FindResponse, error) {
	return &groupsv1.FindResponse{Index: s.index, Hits: s.hits}, nil
}

type forum struct{}

func (forum) Topics(_ context.Context, _ *groupsv1.TopicsRequest, stream groupsv1rpcmesh.ForumTopicsServerStream) error {
	for _, topic := range []string{"parking", "the soup"} {
		if err := stream.Send(&groupsv1.TopicsResponse{Topic: topic}); err != nil {
			return err
		}
	}
	return nil
}

type survey struct{}

func (survey) Question(context.Context, *groupsv1.QuestionRequest) (*groupsv1.QuestionResponse, error) {
	return &groupsv1.QuestionResponse{Question: "how was the soup?"}, nil
}
