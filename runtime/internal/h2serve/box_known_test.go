package h2serve_test

// known says of scenarios why they differ from net/http's server.
var known = map[string]string{}
