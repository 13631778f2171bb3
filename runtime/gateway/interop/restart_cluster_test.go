package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1rpcmesh"
)

// adopted is the namespace of the servers that know nothing of meshes.
const adopted = "adopted"

// Kinds of processes, as a deployment has them: two of each, three of the replicas.
const (
	kindHub     = "hub"
	kindReplica = "replica"
	kindServer  = "server"
	kindAdopter = "adopter"
	kindGateway = "gateway"
)

// process is one that is restarted: all nodes but replicas are the command's.
type process struct {
	c          *cluster
	kind, name string
	args       []string // of the command, or what the test's executable is to be
	addr       string
	cmd        *exec.Cmd
	started    time.Time
}

// cluster is a mesh of processes, and a node of the test's that watches it.
type cluster struct {
	*testing.T
	command   string
	folder    string
	hubs      []string // their URLs
	processes []*process
	observer  *rpcmesh.Node
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, folder: t.TempDir(), observer: newNode(t, "observer")}
	c.command = filepath.Join(c.folder, "rpcmesh")
	run(t, true, nil, "go", "build", "-C", "../../..", "-o", c.command, "./cmd/rpcmesh")
	for i := range 2 {
		addr := c.freeAddress()
		c.hubs = append(c.hubs, "http://"+addr)
		c.node(kindHub, i, addr, fmt.Sprintf(`"listen": [%q], "namespaces": ["public", "adopted"]`, addr))
	}
	for i := range 3 {
		name := fmt.Sprint(kindReplica, i)
		c.add(&process{kind: kindReplica, name: name, args: append([]string{kindReplica, name}, c.hubs...)})
	}
	for i := range 2 {
		addr := c.freeAddress()
		c.add(&process{kind: kindServer, name: fmt.Sprint(kindServer, i), addr: addr, args: []string{kindServer, addr}})
		c.node(kindAdopter, i, "", fmt.Sprintf(
			`%s, "adopt": [{"url": "http://%s", "namespace": "adopted", "policy": "round-robin", "services": ["interop.v1.WorkService"]}]`,
			c.links(adopted), addr))
	}
	for i := range 2 {
		addr := c.freeAddress()
		c.node(kindGateway, i, addr, fmt.Sprintf(
			`%s, "listen": [%q], "gateway": {"namespace": "public", "namespaces": ["adopted"], "open": true}, "lame_duck": "%v"`,
			c.links(namespace, adopted), addr, 10*probeEvery))
	}
	for _, url := range c.hubs {
		if _, err := c.observer.Link(url, namespace, adopted); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range c.processes {
		p.start()
	}
	t.Cleanup(func() {
		for _, p := range c.processes {
			p.stop()
		}
	})
	return c
}

// links is the part of a node's file with its links to the hubs.
func (c *cluster) links(namespaces ...string) string {
	quoted := `"` + strings.Join(namespaces, `", "`) + `"`
	return fmt.Sprintf(`"links": [{"url": %q, "namespaces": [%s]}, {"url": %q, "namespaces": [%s]}]`, c.hubs[0], quoted, c.hubs[1], quoted)
}

// node adds a node that the command runs.
func (c *cluster) node(kind string, i int, addr, file string) {
	c.Helper()
	name := fmt.Sprint(kind, i)
	path := filepath.Join(c.folder, name+".json")
	text := fmt.Sprintf(`{"name": %q, %s, "drain": "%v"}`, name, file, drainTime)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	c.add(&process{kind: kind, name: name, addr: addr, args: []string{c.command, "node", "-config", path}})
}

func (c *cluster) add(p *process) {
	p.c = c
	c.processes = append(c.processes, p)
}

func (c *cluster) of(kind string) (all []*process) {
	for _, p := range c.processes {
		if p.kind == kind {
			all = append(all, p)
		}
	}
	return all
}

// freeAddress returns an address that nobody listens at.
func (c *cluster) freeAddress() string {
	c.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *process) start() {
	p.c.Helper()
	if p.args[0] == p.c.command {
		p.cmd = exec.Command(p.c.command, p.args[1:]...)
	} else {
		p.cmd = exec.Command(os.Args[0])
	}
	p.cmd.Env = append(os.Environ(), "RPCMESH_SECRET="+secret, processEnv+"="+strings.Join(p.args, " "))
	log, err := os.OpenFile(filepath.Join(p.c.folder, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.c.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		p.c.Fatal(err)
	}
}

// stop ends the process by SIGTERM, and waits until it has.
func (p *process) stop() {
	p.c.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.c.Errorf("%s: %v", p.name, err)
	}
	if err := p.cmd.Wait(); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.c.folder, p.name+".log"))
		p.c.Errorf("%s ended: %v; it wrote:\n%s", p.name, err, log)
	}
}

// awaitWhole waits until the mesh is as it is when all processes run.
func (c *cluster) awaitWhole() {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond) // the observer's members change in more ways than one namespace's events tell
	defer tick.Stop()
	for why := c.broken(); why != ""; why = c.broken() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.Fatalf("the mesh is not whole: %s", why)
		}
	}
}

// broken says what is missing in the mesh, nothing where it is whole.
func (c *cluster) broken() string {
	members := map[string]rpcmesh.Member{}
	for m := range c.observer.Members() {
		members[m.Name] = m
	}
	for _, p := range c.processes {
		var why string
		switch p.kind {
		case kindReplica:
			why = p.linksMissing(members, namespace) + p.originMissing(namespace, p.name)
		case kindServer:
			why = p.originMissing(adopted, strings.Replace(p.name, kindServer, kindAdopter, 1))
		case kindAdopter:
			why = p.linksMissing(members, adopted) + p.originMissing(adopted, p.name)
		case kindGateway:
			why = p.linksMissing(members, namespace) + p.linksMissing(members, adopted)
		}
		if why != "" {
			return why
		}
	}
	return ""
}

// linksMissing says whether this start of a node lacks a link to a hub.
func (p *process) linksMissing(members map[string]rpcmesh.Member, ns string) string {
	self := members[p.name]
	for _, h := range p.c.of(kindHub) {
		hub := members[h.name]
		if self.Incarnation < uint64(p.started.UnixNano()) || hub.Incarnation < uint64(h.started.UnixNano()) ||
			!slices.Contains(self.Neighbours[ns], hub.ID) || !slices.Contains(hub.Neighbours[ns], self.ID) {
			return fmt.Sprintf("%s is not linked to %s for %s. ", p.name, h.name, ns)
		}
	}
	return ""
}

// originMissing says whether the function is not there, by a node that has had it since the process was started.
func (p *process) originMissing(ns, node string) string {
	for f := range p.c.observer.Namespace(ns).Functions() {
		if f.Procedure == interopv1rpcmesh.WorkServiceWorkProcedure && f.OriginName == node &&
			f.Registered.After(p.started) && !f.Shadowed && !f.Incompatible {
			return ""
		}
	}
	return fmt.Sprintf("%s does not serve in %s. ", node, ns)
}
