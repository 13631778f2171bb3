package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	groupsv1 "github.com/rpcmesh/rpcmesh/gen/example/groups/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/groups/v1/groupsv1rpcmesh"
)

// One call of every function.
var (
	latest   = account.Call{Text: "Notices.Latest()", Procedure: groupsv1rpcmesh.NoticesLatestProcedure, Do: callLatest}
	today    = account.Call{Text: "Weather.Today()", Procedure: groupsv1rpcmesh.WeatherTodayProcedure, Do: callToday}
	look     = account.Call{Text: "Salaries.Look(Ada)", Procedure: groupsv1rpcmesh.SalariesLookProcedure, Do: callLook}
	find     = account.Call{Text: "Search.Find(soup)", Procedure: groupsv1rpcmesh.SearchFindProcedure, Do: callFind}
	topics   = account.Call{Text: "Forum.Topics()", Procedure: groupsv1rpcmesh.ForumTopicsProcedure, Do: callTopics}
	question = account.Call{Text: "Survey.Question()", Procedure: groupsv1rpcmesh.SurveyQuestionProcedure, Do: callQuestion}

	everything = []account.Call{latest, today, look, find, topics, question}
)

func callLatest(ctx context.Context, t connect.Transport) (string, error) {
	res, err := groupsv1rpcmesh.NewNoticesClient(t).Latest(ctx, &groupsv1.LatestRequest{})
	return res.GetNotice(), err
}

func callToday(ctx context.Context, t connect.Transport) (string, error) {
	res, err := groupsv1rpcmesh.NewWeatherClient(t).Today(ctx, &groupsv1.TodayRequest{})
	return res.GetWeather(), err
}

func callLook(ctx context.Context, t connect.Transport) (string, error) {
	res, err := groupsv1rpcmesh.NewSalariesClient(t).Look(ctx, &groupsv1.LookRequest{Name: "Ada"})
	return fmt.Sprintf("%d EUR", res.GetEuros()), err
}

func callFind(ctx context.Context, t connect.Transport) (string, error) {
	res, err := groupsv1rpcmesh.NewSearchClient(t).Find(ctx, &groupsv1.FindRequest{Word: "soup"})
	return res.GetIndex() + ": " + strings.Join(res.GetHits(), ", "), err
}

func callTopics(ctx context.Context, t connect.Transport) (string, error) {
	stream, err := groupsv1rpcmesh.NewForumClient(t).Topics(ctx, &groupsv1.TopicsRequest{})
	if err != nil {
		return "", err
	}
	var all []string
	for res, err := range stream.All() {
		if err != nil {
			return "", err
		}
		all = append(all, res.GetTopic())
	}
	return strings.Join(all, ", "), nil
}

func callQuestion(ctx context.Context, t connect.Transport) (string, error) {
	res, err := groupsv1rpcmesh.NewSurveyClient(t).Question(ctx, &groupsv1.QuestionRequest{})
	return res.GetQuestion(), err
}
