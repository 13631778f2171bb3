package gateway_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2/connecthttp"
)

// TestWebText calls every kind of function in gRPC-Web's text format, by a client of the binary one whose
// bodies are turned into base64 and back.
func TestWebText(t *testing.T) {
	node := entry(t, 2, greeter{})
	for _, httpVersion := range allDoors() {
		d := open(t, httpVersion, node, public)
		d.client.Transport = webTextTransport{t, d.client.Transport}
		for name, options := range map[string][]connecthttp.Option{
			"proto": {connecthttp.WithGRPCWeb()},
			"json":  {connecthttp.WithGRPCWeb(), connecthttp.WithProtoJSON()},
			"gzip":  {connecthttp.WithGRPCWeb(), connecthttp.WithSendGzip()},
		} {
			t.Run(httpVersion+"/"+name, func(t *testing.T) { kinds(t, d.greet(options...), httpVersion != "http/1.1") })
		}
	}
}

// webTextTransport speaks the text format for a client of the binary one.
type webTextTransport struct {
	t    *testing.T
	next http.RoundTripper
}

func (tr webTextTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	const text, binary = "application/grpc-web-text", "application/grpc-web"
	r = r.Clone(r.Context())
	r.Header.Set("Content-Type", strings.Replace(r.Header.Get("Content-Type"), binary, text, 1))
	r.ContentLength, r.GetBody = -1, nil
	r.Body = textRequest{r.Body, new(bytes.Buffer)}
	res, err := tr.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if contentType := res.Header.Get("Content-Type"); strings.HasPrefix(contentType, text) {
		res.Header.Set("Content-Type", strings.Replace(contentType, text, binary, 1))
	} else {
		tr.t.Errorf("the answer's content type is %q", contentType)
	}
	res.Body = textResponse{res.Body, new(bytes.Buffer)}
	return res, nil
}

// textRequest encodes what each Read brings as a padded piece of its own.
type textRequest struct {
	io.ReadCloser
	rest *bytes.Buffer
}

func (e textRequest) Read(p []byte) (int, error) {
	if e.rest.Len() == 0 {
		b := make([]byte, 100)
		n, err := e.ReadCloser.Read(b)
		e.rest.WriteString(base64.StdEncoding.EncodeToString(b[:n]))
		if n == 0 {
			return 0, err
		}
	}
	return e.rest.Read(p)
}

// textResponse decodes four characters at a time.
type textResponse struct {
	io.ReadCloser
	rest *bytes.Buffer
}

func (d textResponse) Read(p []byte) (int, error) {
	if d.rest.Len() == 0 {
		var text [4]byte
		if _, err := io.ReadFull(d.ReadCloser, text[:]); err != nil {
			return 0, err
		}
		b, err := base64.StdEncoding.DecodeString(string(text[:]))
		if err != nil {
			return 0, err
		}
		d.rest.Write(b)
	}
	return d.rest.Read(p)
}

// TestWebTextRefuses sends what is no base64.
func TestWebTextRefuses(t *testing.T) {
	for _, httpVersion := range allDoors() {
		d := open(t, httpVersion, entry(t, 0, greeter{}), public)
		for _, body := range []string{"AAAA*AAA", "AAAAA", "A===", "===="} {
			_, header, got := d.post(t, greetPath, "application/grpc-web-text", body)
			trailer, err := base64.StdEncoding.DecodeString(got)
			if status := header.Get("Grpc-Status") + string(trailer); err != nil || !strings.ContainsAny(status, "123456789") {
				t.Errorf("%s, %q: headers %v, body %q, %v", httpVersion, body, header, got, err)
			}
		}
		kinds(t, d.greet(), httpVersion != "http/1.1")
	}
}
