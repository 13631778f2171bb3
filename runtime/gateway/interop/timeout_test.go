package interop

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestTimeoutIsAnswered: a caller that does not itself count the timeout that it sends gets a whole answer.
// One that does may stop reading in the middle of it: see known-flaky.txt of the conformance suite.
func TestTimeoutIsAnswered(t *testing.T) {
	m := start(t)
	client := h2c(t)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 30 {
				if err := timeOut(t, client, m.url); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
}

func timeOut(t *testing.T, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/interop.v1.EchoService/Echo", strings.NewReader(`{"text":"wait"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connect-Timeout-Ms", "20")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	var answer struct{ Code string }
	if json.Unmarshal(body, &answer) != nil || answer.Code != "deadline_exceeded" || res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d, body %q, %v", res.StatusCode, body, err)
	}
	return err
}
