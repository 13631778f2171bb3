package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// TestAuthorizePanics: a call over which Authorize panics is not admitted, whoever serves it; others go on.
func TestAuthorizePanics(t *testing.T) {
	for _, kind := range allDoors() {
		t.Run(kind, func(t *testing.T) {
			d := open(t, kind, entry(t, 0, greeter{}), gateway.Config{Namespace: "public", Authorize: func(_ context.Context, c gateway.Caller) error {
				if c.Token == "" {
					panic("the password is 1234")
				}
				return nil
			}})
			for _, token := range []string{"", "token", "", "token"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+greetPath, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				if token != "" {
					req.Header.Set("Authorization", "Bearer "+token)
				}
				res, err := d.client.Do(req)
				if err == nil {
					body, readErr := io.ReadAll(res.Body)
					res.Body.Close()
					if err = readErr; strings.Contains(string(body), "1234") || token == "" && res.StatusCode < 400 {
						t.Errorf("it answers %d, %s", res.StatusCode, body)
					}
				}
				if token != "" && err != nil {
					t.Errorf("a call that is admitted: %v", err)
				}
			}
		})
	}
}
