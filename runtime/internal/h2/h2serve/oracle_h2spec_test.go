package h2serve_test

import (
	"context"
	"encoding/xml"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

var h2spec = flag.String("h2spec", "", "the h2spec to run against the server; none: skip")

// report is what h2spec says of its cases.
type report struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Package string    `xml:"package,attr"`
			Name    string    `xml:"classname,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func TestH2spec(t *testing.T) {
	if *h2spec == "" {
		t.Skip("needs -h2spec")
	}
	for _, name := range []string{"cleartext", "TLS"} {
		t.Run(name, func(t *testing.T) {
			s := setup{base: context.Background()} //nolint:usetesting // it is served until the listener closes
			args := []string{"--strict", "-o", "5", "-h", "127.0.0.1"}
			if name == "TLS" {
				s.tls = serverTLS()
				args = append(args, "-t", "-k")
			}
			runH2spec(t, s, args)
		})
	}
}

func runH2spec(t *testing.T, s setup, args []string) {
	t.Helper()
	l := listen(t)
	stop := serveWith(l, s, h2serve.Options{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "hello from the server")
	})})
	defer stop()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	junit := filepath.Join(t.TempDir(), "report.xml")
	out, _ := exec.CommandContext(t.Context(), *h2spec, append(args, "-p", port, "-j", junit)...).CombinedOutput()
	text, err := os.ReadFile(junit)
	var r report
	if err == nil {
		err = xml.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cases := 0
	for _, suite := range r.Suites {
		for _, c := range suite.Cases {
			cases++
			if c.Failure != nil || c.Error != nil {
				t.Errorf("%s: %s", c.Package, c.Name)
			}
		}
	}
	if cases < 140 {
		t.Errorf("only %d cases ran", cases)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	t.Logf("%d cases", cases)
}
