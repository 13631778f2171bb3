package h2serve_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var showOracle = flag.Bool("oracle.show", false, "log what each exchange with net/http's server is")

// scenario is an exchange whose course must be the same with net/http's server and with ours.
type scenario struct {
	serve      func(w *world, rw http.ResponseWriter, r *http.Request)
	client     func(w *world) // nil: one GET
	tls        bool
	maxStreams int
}

// differ runs the scenarios against both servers, and compares what client and handler noted.
func differ(t *testing.T, scenarios map[string]scenario) {
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason := known[t.Name()]
			want, got := s.both(t)
			diff := cmp.Diff(want, got)
			// A handler that was to begin when its connection ended may not be seen.
			for try := 0; try < 5 && (reason == "" && !sameHandlers(want, got) || reason != "" && diff == ""); try++ {
				want, got = s.both(t)
				diff = cmp.Diff(want, got)
			}
			switch {
			case diff == "" && reason != "":
				t.Errorf("as net/http's, although %s", reason)
			case diff != "" && reason == "":
				t.Errorf("not as net/http's (-net/http +ours):\n%s", diff)
			}
			if *showOracle {
				t.Logf("%s", cmp.Diff(nil, want))
			}
		})
	}
}

func (s scenario) both(t *testing.T) (want, got map[string][]string) {
	t.Helper()
	return s.run(t, oracle), s.run(t, subject)
}

// sameHandlers reports whether handlers have noted something in both runs, or in neither.
func sameHandlers(want, got map[string][]string) bool {
	_, in := want["handler"]
	_, also := got["handler"]
	return in == also
}

// world is one run of a scenario.
type world struct {
	testing.TB
	addr      string
	client    *http.Client
	transport *http.Transport

	mu      sync.Mutex
	idle    sync.Cond
	serving int
	dialled []net.Conn
	panics  int // that are to be logged
	notes   map[string][]string
	signals map[string]chan struct{}
}

type contextKey string

func (s scenario) run(t *testing.T, serve server) map[string][]string {
	t.Helper()
	l := listen(t)
	w := &world{TB: t, addr: l.Addr().String(), notes: make(map[string][]string), signals: make(map[string]chan struct{})}
	w.idle.L = &w.mu
	set := setup{
		handler: w.handler(s), maxStreams: s.maxStreams, log: slog.New(logNotes{w: w}),
		base: context.WithValue(context.Background(), contextKey("base"), "value"), //nolint:usetesting // outlives the test's
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	w.transport = &http.Transport{Protocols: p, ExpectContinueTimeout: time.Minute}
	if s.tls {
		set.tls = serverTLS()
		p.SetHTTP2(true)
		w.transport.TLSClientConfig = clientTLS()
	}
	w.client = &http.Client{Transport: w.transport}
	stop := serve(l, set)
	if s.client == nil {
		w.get("/")
	} else {
		s.client(w)
	}
	w.transport.CloseIdleConnections()
	for _, nc := range w.dialled {
		_ = nc.Close()
	}
	stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.serving > 0 || len(w.notes["log"]) < w.panics {
		w.idle.Wait()
	}
	notes := w.notes
	w.notes = nil
	return notes
}

func (w *world) handler(s scenario) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.serving++
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			w.serving--
			v := recover()
			if v != nil && v != http.ErrAbortHandler {
				w.panics++
			}
			w.idle.Broadcast()
			w.mu.Unlock()
			if v != nil {
				panic(v)
			}
		}()
		s.serve(w, rw, r)
	})
}

// logNotes notes what a server logs of handlers' panics: net/http in a text, ours in an attribute.
type logNotes struct {
	slog.Handler

	w *world
}

func (logNotes) Enabled(context.Context, slog.Level) bool { return true }

func (l logNotes) Handle(_ context.Context, r slog.Record) error {
	_, text, panicked := strings.Cut(r.Message, "panic serving ")
	_, text, _ = strings.Cut(text, ": ")
	text, _, _ = strings.Cut(text, "\n")
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "panic" {
			text, panicked = a.Value.String(), true
		}
		return true
	})
	if panicked {
		l.w.notef("log", "%s", statuses.ReplaceAllString(text, "status"))
	}
	return nil
}

// statuses are how the servers say what WriteHeader does not take.
var statuses = regexp.MustCompile(`invalid WriteHeader code|h2serve: invalid status`)

var ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// notef adds to what who has seen.
func (w *world) notef(who, format string, args ...any) {
	line := ports.ReplaceAllString(fmt.Sprintf(format, args...), "ADDR")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notes != nil {
		w.notes[who] = append(w.notes[who], line)
		w.idle.Broadcast()
	}
}

func (w *world) channel(name string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.signals[name] == nil {
		w.signals[name] = make(chan struct{})
	}
	return w.signals[name]
}

// signal lets those go on that wait for name.
func (w *world) signal(name string) { close(w.channel(name)) }

func (w *world) wait(name string) {
	select {
	case <-w.channel(name):
	case <-time.After(patience):
		w.Errorf("waited too long for %q", name)
	}
}

const patience = time.Minute

// ended waits until a context has.
func (w *world) ended(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		w.Error("waited too long for a context's end")
	}
}

func (w *world) url(path string) string {
	if w.transport.TLSClientConfig != nil {
		return "https://" + w.addr + path
	}
	return "http://" + w.addr + path
}

func (w *world) request(method, path string, body io.Reader) *http.Request {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	w.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, w.url(path), body)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) get(path string) { w.do(w.request("GET", path, nil)) }

// do notes what comes of a request, 1xx responses too.
func (w *world) do(r *http.Request) {
	if resp := w.begin(r); resp != nil {
		w.finish(resp)
	}
}

// begin notes the head of the response.
func (w *world) begin(r *http.Request) *http.Response {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got100Continue: func() { w.notef("client", "100") },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			w.notef("client", "%d %s", code, fields(http.Header(header)))
			return nil
		},
		GotConn: func(info httptrace.GotConnInfo) { w.notef("client", "connection reused: %t", info.Reused) },
	}))
	resp, err := w.client.Do(r)
	if err != nil {
		w.notef("client", "error: %v", err)
		return nil
	}
	w.notef("client", "%s %s length %d, %s", resp.Proto, resp.Status, resp.ContentLength, fields(resp.Header))
	w.notef("client", "announced %s", slices.Sorted(maps.Keys(resp.Trailer)))
	return resp
}

// finish notes the rest of it.
func (w *world) finish(resp *http.Response) {
	body, err := io.ReadAll(resp.Body)
	w.notef("client", "body %s, %v", digest(body), err)
	w.notef("client", "trailer %s", fields(resp.Trailer))
	_ = resp.Body.Close()
}

func fields(h http.Header) string {
	h = maps.Clone(h)
	h.Del("Date")
	return fmt.Sprintf("%q", map[string][]string(h))
}

func digest(p []byte) string {
	if len(p) <= 100 {
		return fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("of %d bytes %x", len(p), sha256.Sum256(p))
}

// whole says what has been read of a body. Of one that has broken there may be more or less.
func whole(p []byte, err error) string {
	if err != nil {
		return kind(err)
	}
	return digest(p)
}

// kind says of a handler's error what its text need not be the same for.
func kind(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return fmt.Sprint(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "deadline"
	case errors.Is(err, http.ErrContentLength), errors.Is(err, http.ErrBodyNotAllowed), errors.Is(err, http.ErrNotSupported),
		errors.Is(err, http.ErrBodyReadAfterClose):
		return err.Error()
	default:
		return "error"
	}
}

// dial opens a connection of which the test has the frames.
func (w *world) dial() net.Conn {
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled = append(w.dialled, nc)
	return nc
}
