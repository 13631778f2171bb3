package rpcmesh

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// waitVisible is [Namespace.WaitVisible] for several namespaces.
func (t *table) waitVisible(ctx context.Context, namespaces ...string) error {
	tokens, err := t.visibilityTokens(namespaces)
	defer t.releaseTokens(tokens)
	remind := remind(ctx, t.log.Logger)
	defer remind.stop()
	for err == nil {
		t.mu.Lock()
		unseen := slices.IndexFunc(tokens, func(token mesh.Token) bool { return !t.core.Visible(token) })
		moved := t.coreChanged.wait()
		t.mu.Unlock()
		if unseen < 0 {
			return nil
		}
		select {
		case <-moved:
		case <-remind.c():
			remind.log("WaitVisible waits: not every member has seen this node's functions", "namespace", namespaces[unseen])
		case <-t.life.ctx.Done():
			err = errClosed()
		case <-ctx.Done():
			err = connect.Errorf(coded.OfContext(ctx.Err()), "rpcmesh: not every member of %q has seen this node's functions yet", namespaces[unseen]).
				WithCause(context.Cause(ctx))
		}
	}
	return err
}

func (t *table) visibilityTokens(namespaces []string) (tokens []mesh.Token, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == closed {
		return nil, errClosed()
	}
	for _, name := range namespaces {
		token, err := t.core.WantVisible(time.Now(), name)
		if err != nil {
			return tokens, asConnect(err)
		}
		tokens = append(tokens, token)
	}
	t.publishLocked()
	return tokens, nil
}

func (t *table) releaseTokens(tokens []mesh.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, token := range tokens {
		t.core.Release(time.Now(), token)
	}
	t.publishLocked()
}
