package rpcmesh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// absent is what comes of a call of work from a, once prepare has been at work.
func absent(prepare func(p *pair)) func(*testing.T) outcome {
	return between(func(p *pair) error {
		prepare(p)
		synctest.Wait()
		_, err := do(p.Context(), p.caller(), workSpec(), "")
		return err
	})
}

// wentFrom has work registered at b, and withdrawn.
func wentFrom(p *pair) {
	origin := mustRegister(p, p.b.Namespace("public"), worker(func(context.Context, string) (string, error) { return "", nil }))
	synctest.Wait()
	if err := origin.Unregister(); err != nil {
		p.Error(err)
	}
	synctest.Wait()
}

// TestMistakesOfAbsence: each row of the table.
func TestMistakesOfAbsence(t *testing.T) {
	none := func(context.Context, string) (string, error) { return "", nil }
	errortest.Check(t, &errortest.Absence, map[string]func(*testing.T) outcome{
		"unknown": absent(func(*pair) {}),
		"misspelt": between(func(p *pair) error {
			mustRegister(p, p.b.Namespace("public"), worker(none))
			synctest.Wait()
			spec := workSpec()
			spec.Procedure += "s"
			_, err := do(p.Context(), p.caller(), spec, "")
			return err
		}),
		"elsewhere":   absent(func(p *pair) { mustRegister(p, p.a.Namespace("private"), worker(none)) }),
		"withdrawn":   absent(wentFrom),
		"origin-left": absent(func(p *pair) { mustRegister(p, p.b.Namespace("public"), worker(none)); synctest.Wait(); p.b.Close() }),
		"link-down": absent(func(p *pair) {
			if _, err := p.a.Link(rpcmeshtest.URL("nowhere"), "public"); err != nil {
				p.Error(err)
			}
			time.Sleep(time.Second) // fake time
		}),
		"waited": between(func(p *pair) error {
			wentFrom(p)
			ctx, cancel := context.WithTimeout(rpcmesh.WaitForReady(p.Context()), time.Second)
			defer cancel()
			_, err := do(ctx, p.caller(), workSpec(), "")
			return err
		}),
	})
}
