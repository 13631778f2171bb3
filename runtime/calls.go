package rpcmesh

import "sync"

// calls makes the calls of a node's own programs, and of those that its gateways let in.
type calls struct {
	identity *identity
	life     *lifetime
	log      *logger
	cfg      *Config
	table    *table
	links    *linkSet
	origins  *origins
	linker   *linker

	balancer    *balancer
	retries     retryBudget
	local       localCalls
	suggestions suggester
	unaryPool   sync.Pool // of *pooledUnary
}

func newCalls(
	i *identity, life *lifetime, log *logger, cfg *Config, t *table, links *linkSet, os *origins, rt *router, l *linker,
) *calls {
	return &calls{
		identity: i, life: life, log: log, cfg: cfg, table: t, links: links, origins: os, linker: l, balancer: &rt.balancer,
	}
}
