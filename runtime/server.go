package rpcmesh

// server serves a node's listeners: links, and what else was registered with [Node.Handle].
type server struct {
	identity *identity
	life     *lifetime
	log      *logger
	cfg      *Config
	linker   *linker

	handlers nodeMux // what is served besides links: see Node.Handle
	external externalTraffic
	conns    connections
}

func newServer(i *identity, life *lifetime, log *logger, cfg *Config, l *linker) *server {
	return &server{identity: i, life: life, log: log, cfg: cfg, linker: l, conns: connections{limits: &cfg.Limits}}
}
