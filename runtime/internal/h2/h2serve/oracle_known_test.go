package h2serve_test

// Why scenarios differ from net/http's server.
const (
	differsInMismatch    = "a body that is not as long as declared resets the stream: RFC 9113 section 8.1.1"
	differsInConnect     = "there is no CONNECT"
	differsInExpect      = "a request that has ended is not told to continue"
	differsInHost        = "Host is not among the headers, as in HTTP/1"
	differsInLengths     = "a content-length that cannot be true resets the stream: RFC 9113 section 8.1.1"
	differsInPaths       = "a path that is none is answered with 400"
	differsInOptions     = "OPTIONS * is the handler's: http.Server has one of its own"
	differsInTE          = "TE must be trailers: RFC 9113 section 8.2.2"
	differsInHTTP1       = "headers of HTTP/1 are not sent: RFC 9113 section 8.2.2"
	differsInFields      = "requests with headers of HTTP/1 are malformed: RFC 9113 section 8.2.2"
	differsInHEAD        = "net/http fails writes after the head of a HEAD's response"
	differsInHeaderLimit = "more headers than the limit, and more behind them, are told ENHANCE_YOUR_CALM"
	differsBeyondLength  = "net/http notices too late when a handler writes more than it declared"
)

// known says of scenarios why they differ. Those that no longer do must go from it.
var known = map[string]string{
	"TestExchanges/headers_of_more_than_is_allowed":  differsInHeaderLimit,
	"TestExchanges/length,_less_sent":                differsInMismatch,
	"TestExchanges/length,_less_sent,_then_trailers": differsInMismatch,
	"TestExchanges/length,_none_sent":                differsInMismatch,
	"TestHeads/connect":                              differsInConnect,
	"TestHeads/connect,_with_a_body":                 differsInConnect,
	"TestHeads/connect_with_a_path":                  differsInConnect,
	"TestHeads/connect_with_a_path,_with_a_body":     differsInConnect,
	"TestHeads/empty_length":                         differsInLengths,
	"TestHeads/empty_length,_with_a_body":            differsInLengths,
	"TestHeads/expect":                               differsInExpect,
	"TestHeads/expect_twice":                         differsInExpect,
	"TestHeads/expect_upper_case":                    differsInExpect,
	"TestHeads/host_beside":                          differsInHost,
	"TestHeads/host_beside,_with_a_body":             differsInHost,
	"TestHeads/host_instead":                         differsInHost,
	"TestHeads/host_instead,_with_a_body":            differsInHost,
	"TestHeads/host_the_same":                        differsInHost,
	"TestHeads/host_the_same,_with_a_body":           differsInHost,
	"TestHeads/huge_length":                          differsInLengths,
	"TestHeads/huge_length,_with_a_body":             differsInLengths,
	"TestHeads/length":                               differsInLengths,
	"TestHeads/length,_then_nothing":                 differsInLengths,
	"TestHeads/length,_then_nothing,_with_a_body":    differsInLengths,
	"TestHeads/length_in_a_list":                     differsInLengths,
	"TestHeads/length_in_a_list,_with_a_body":        differsInLengths,
	"TestHeads/length_twice":                         differsInLengths,
	"TestHeads/negative_length":                      differsInLengths,
	"TestHeads/negative_length,_with_a_body":         differsInLengths,
	"TestHeads/odd_length":                           differsInLengths,
	"TestHeads/odd_length,_with_a_body":              differsInLengths,
	"TestHeads/path_with_a_bad_escape":               differsInPaths,
	"TestHeads/path_with_a_bad_escape,_with_a_body":  differsInPaths,
	"TestHeads/relative_path":                        differsInPaths,
	"TestHeads/relative_path,_with_a_body":           differsInPaths,
	"TestHeads/signed_length":                        differsInLengths,
	"TestHeads/signed_length,_with_a_body":           differsInLengths,
	"TestHeads/star_of_options":                      differsInOptions,
	"TestHeads/star_of_options,_with_a_body":         differsInOptions,
	"TestHeads/te_empty":                             differsInTE,
	"TestHeads/te_empty,_with_a_body":                differsInTE,
	"TestHeads/te_twice":                             differsInTE,
	"TestHeads/te_twice,_with_a_body":                differsInTE,
	"TestHeads/two_hosts":                            differsInHost,
	"TestHeads/two_hosts,_with_a_body":               differsInHost,
	"TestHeads/two_lengths":                          differsInLengths,
	"TestHeads/two_lengths,_with_a_body":             differsInLengths,
	"TestRequests/options_of_all":                    differsInOptions,
	"TestRequests/options_of_all,_body_unread":       differsInOptions,
	"TestRequests/options_of_all_over_TLS":           differsInOptions,
	"TestResponses/GET_more,_in_two_pieces":          differsBeyondLength,
	"TestResponses/GET_more_than_its_length":         differsBeyondLength,
	"TestResponses/GET_proxy_connection":             differsInHTTP1,
	"TestResponses/GET_upgrade":                      differsInHTTP1,
	"TestResponses/HEAD_flush_within":                differsInHEAD,
	"TestResponses/HEAD_more,_in_two_pieces":         differsInHEAD,
	"TestResponses/HEAD_more_than_its_length":        differsInHEAD,
	"TestResponses/HEAD_much":                        differsInHEAD,
	"TestResponses/HEAD_one_more":                    differsInHEAD,
	"TestResponses/HEAD_proxy_connection":            differsInHTTP1,
	"TestResponses/HEAD_upgrade":                     differsInHTTP1,
	"TestTrailers/HEAD_announced,_large_body":        differsInHEAD,
	"TestTrailers/HEAD_prefix,_large":                differsInHEAD,
	"TestHeads/connection":                           differsInFields,
	"TestHeads/connection,_with_a_body":              differsInFields,
	"TestHeads/keep-alive":                           differsInFields,
	"TestHeads/keep-alive,_with_a_body":              differsInFields,
	"TestHeads/proxy-connection":                     differsInFields,
	"TestHeads/proxy-connection,_with_a_body":        differsInFields,
	"TestHeads/transfer-encoding":                    differsInFields,
	"TestHeads/transfer-encoding,_with_a_body":       differsInFields,
	"TestHeads/upgrade":                              differsInFields,
	"TestHeads/upgrade,_with_a_body":                 differsInFields,
	"TestHeads/te_other":                             differsInFields,
	"TestHeads/te_other,_with_a_body":                differsInFields,
	"TestHeads/te_both":                              differsInFields,
	"TestHeads/te_both,_with_a_body":                 differsInFields,
}
