package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// proxyFlags say which node to ask, and how.
type proxyFlags struct {
	secret    secretFlags
	link      string
	namespace string
	tls       tlsConfig
	timeout   time.Duration
}

func (p *proxyFlags) add(f *flags) {
	p.secret.add(f)
	f.StringVar(&p.link, "link", "", "`URL` of the node to ask")
	f.StringVar(&p.namespace, "namespace", rpcmesh.DefaultNamespace, "`namespace` to look into: one that the node holds, or a group of it")
	p.tls.add(f, "link-tls", "an https URL's node")
	f.DurationVar(&p.timeout, "timeout", 10*time.Second, "how long it may take")
}

// with dials the node and calls do.
func (p *proxyFlags) with(ctx context.Context, t *terminal, do func(context.Context, *rpcmesh.Proxy) error) error {
	if p.link == "" {
		return usagef("-link URL is missing: give that of a node")
	}
	if p.timeout <= 0 {
		return usagef("-timeout must be more than 0")
	}
	cfg := rpcmesh.ProxyConfig{Namespace: p.namespace, AcceptAnyone: p.secret.anyone, Dial: dial}
	cfg.Logger = slog.New(slog.DiscardHandler) // what is wrong is the command's error
	var err error
	if cfg.Secrets, err = p.secret.read(t); err != nil {
		return err
	}
	if cfg.TLS, err = p.tls.client(nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	proxy, err := rpcmesh.Dial(ctx, p.link, cfg)
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		return &usageError{err}
	}
	if err != nil {
		return err
	}
	defer proxy.Close()
	return do(ctx, proxy)
}

const aboutList = `

Lists the functions that can be called in a namespace through a node: their kind, the node that has them,
how many links away that is, and how calls are spread where several nodes have one.

  rpcmesh ls -secret-file secret -link http://host:8220 -namespace public
`

// listed is a function as rpcmesh ls -json prints it.
type listed struct {
	Procedure  string    `json:"procedure"`
	Kind       string    `json:"kind"`
	Origin     string    `json:"origin"`
	OriginID   string    `json:"origin_id"`
	Hops       int       `json:"hops"`
	Policy     string    `json:"policy"`
	Shadowed   bool      `json:"shadowed"`
	Registered time.Time `json:"registered"`
}

func runList(ctx context.Context, args []string, t *terminal) error {
	var p proxyFlags
	f := newFlags(t, "ls", aboutList)
	p.add(f)
	asJSON := f.Bool("json", false, "print JSON, one function a line")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	return p.with(ctx, t, func(_ context.Context, proxy *rpcmesh.Proxy) error {
		if *asJSON {
			return printJSON(t.out, proxy)
		}
		return printTable(t.out, proxy)
	})
}

func printTable(w io.Writer, proxy *rpcmesh.Proxy) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FUNCTION\tKIND\tNODE\tLINKS\tPOLICY")
	for fn := range proxy.Functions() {
		policy := fn.Policy.String()
		if fn.Shadowed {
			policy += ", shadowed"
		}
		fmt.Fprintf(table, "%s\t%v\t%s\t%d\t%s\n", plain(fn.Procedure), fn.StreamType, plain(fn.OriginName), fn.Hops, policy)
	}
	return table.Flush()
}

func printJSON(w io.Writer, proxy *rpcmesh.Proxy) error {
	lines := json.NewEncoder(w)
	for fn := range proxy.Functions() {
		err := lines.Encode(listed{
			Procedure: fn.Procedure, Kind: fn.StreamType.String(), Origin: fn.OriginName, OriginID: fn.Origin.String(),
			Hops: fn.Hops, Policy: fn.Policy.String(), Shadowed: fn.Shadowed, Registered: fn.Registered,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const aboutCall = `/PKG.SERVICE/METHOD

Calls a function through a node, whoever has it, and prints its responses as JSON, one a line. The requests
are JSON as well: that of -d, or what comes from the standard input with -d -, one after the other where the
function takes several.

  rpcmesh call -secret-file secret -link http://host:8220 -namespace public -d '{"name":"Ada"}' /greet.v1.Greeter/Greet
`

func runCall(ctx context.Context, args []string, t *terminal) error {
	var p proxyFlags
	f := newFlags(t, "call", aboutCall)
	p.add(f)
	data := f.String("d", "{}", "the request in `JSON`, or - for the standard input")
	var headers headerFlags
	f.Var(&headers, "H", "`KEY: VALUE`: a header of the request; may be given again")
	if err := f.parse(args, 1, 1); err != nil {
		return err
	}
	procedure, err := procedureOf(f.Arg(0))
	if err != nil {
		return err
	}
	return p.with(ctx, t, func(ctx context.Context, proxy *rpcmesh.Proxy) error {
		c, err := newJSONCall(ctx, proxy, procedure)
		if err != nil {
			return err
		}
		ctx, info := connect.NewClientContext(ctx)
		for _, h := range headers {
			info.RequestHeader().Add(h[0], h[1])
		}
		var input io.Reader = strings.NewReader(*data)
		if *data == "-" {
			input = t.in
		}
		err = c.run(ctx, json.NewDecoder(input), t.out)
		return withDetails(err, c.types)
	})
}

// procedureOf returns the procedure that an argument names, with or without its first slash.
func procedureOf(arg string) (string, error) {
	name := strings.TrimPrefix(arg, "/")
	service, method, _ := strings.Cut(name, "/")
	if service == "" || method == "" || strings.Contains(method, "/") {
		return "", usagef("%.200q is no function: one is like /pkg.Service/Method", arg)
	}
	return "/" + name, nil
}

// headerFlags is a flag that may be given again.
type headerFlags [][2]string

func (h *headerFlags) String() string { return "" }

func (h *headerFlags) Set(value string) error {
	key, value, ok := strings.Cut(value, ":")
	if !ok || !httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
		return errors.New("it is KEY: VALUE")
	}
	*h = append(*h, [2]string{key, strings.TrimSpace(value)})
	return nil
}

// jsonCall is a call of a function whose messages are JSON here.
type jsonCall struct {
	proxy  *rpcmesh.Proxy
	schema *rpcmesh.Schema
	spec   connect.Spec
	types  *rpcmesh.Types
}

func newJSONCall(ctx context.Context, proxy *rpcmesh.Proxy, procedure string) (*jsonCall, error) {
	schema, err := proxy.Schema(ctx, procedure)
	if err != nil {
		return nil, err
	}
	c := &jsonCall{
		proxy: proxy, schema: schema, spec: connect.Spec{Procedure: procedure, Schema: schema.Method()},
		types: proxy.Types(ctx, schema),
	}
	if schema.Method().IsStreamingClient() {
		c.spec.StreamType |= connect.StreamTypeClient
	}
	if schema.Method().IsStreamingServer() {
		c.spec.StreamType |= connect.StreamTypeServer
	}
	return c, nil
}

// run sends what requests has and prints what comes back.
func (c *jsonCall) run(ctx context.Context, requests *json.Decoder, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.proxy.NewClientStream(ctx, c.spec)
	if err != nil {
		return err
	}
	defer stream.Close()
	if c.spec.StreamType&connect.StreamTypeClient == 0 {
		if err := c.sendOne(stream, requests); err != nil {
			return err
		}
		return c.receive(stream, out)
	}
	sent := make(chan error, 1)
	go func() {
		err := c.sendAll(stream, requests)
		if err != nil {
			cancel()
		}
		sent <- err
	}()
	err = c.receive(stream, out)
	select {
	case failed := <-sent:
		if failed != nil {
			return failed
		}
	default: // it waits for more input, which nobody wants now
	}
	return err
}

func (c *jsonCall) sendOne(stream connect.ClientStream, requests *json.Decoder) error {
	err := c.send(stream, requests)
	if errors.Is(err, io.EOF) {
		return usagef("the function takes a request, and there is none")
	}
	if err != nil {
		return err
	}
	if requests.More() {
		return usagef("the function takes one request, and there are more")
	}
	return stream.CloseSend()
}

func (c *jsonCall) sendAll(stream connect.ClientStream, requests *json.Decoder) error {
	if err := stream.SendHeaders(); err != nil {
		return nil //nolint:nilerr // receiving says what is wrong with the call
	}
	for {
		err := c.send(stream, requests)
		if errors.Is(err, io.EOF) {
			_ = stream.CloseSend() // receiving says what is wrong with the call
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send sends the next request. It returns io.EOF where there is none, or the call has ended.
func (c *jsonCall) send(stream connect.ClientStream, requests *json.Decoder) error {
	var text json.RawMessage
	if err := requests.Decode(&text); errors.Is(err, io.EOF) {
		return io.EOF
	} else if err != nil {
		return usagef("the request is no JSON: %w", err)
	}
	req := dynamicpb.NewMessage(c.schema.Method().Input())
	if err := (protojson.UnmarshalOptions{Resolver: c.types}).Unmarshal(text, req); err != nil {
		return usagef("the request does not fit %s: %w", c.schema.Method().Input().FullName(), err)
	}
	return stream.Send(req)
}

func (c *jsonCall) receive(stream connect.ClientStream, out io.Writer) error {
	for {
		res := dynamicpb.NewMessage(c.schema.Method().Output())
		if err := stream.Receive(res); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		line, err := (protojson.MarshalOptions{Resolver: c.types}).Marshal(res)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", plain(string(line))); err != nil {
			return err
		}
	}
}
