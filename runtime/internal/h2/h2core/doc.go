// Package h2core has what the two HTTP/2 endpoints (RFC 9113) share: package h2link, which carries a link, and package
// h2serve, which serves any client. It holds no state.
package h2core
