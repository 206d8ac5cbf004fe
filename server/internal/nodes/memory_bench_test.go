package nodes_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

// memoryAgents, in the environment, makes the test binary the server of BenchmarkSession_Memory.
const memoryAgents = "GESTOR_TEST_MEMORY_AGENTS"

// TestServeSessions is the server of BenchmarkSession_Memory, in a process of its own; without being asked to it serves none.
func TestServeSessions(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(memoryAgents)); err == nil {
		serveSessions(t, n)
	}
}

// serveSessions serves until its standard input ends.
func serveSessions(t *testing.T, agents int) {
	t.Helper()
	e := nodestest.NewEngine(t)
	for i := range agents {
		e.AddNode(t, strconv.Itoa(i))
	}
	hist, blobs := nodestest.Stores(t)
	svc := nodes.New(nodes.Options{
		Engine: e, History: hist, Blobs: blobs, Secrets: noSecrets{}, Leases: &leases{renewed: map[nodes.Held]int{}},
		Caller: nodestest.Caller, Log: slog.New(slog.DiscardHandler),
	})
	srv := httptest.NewUnstartedServer(nodestest.Handler(svc))
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	srv.StartTLS()
	nodestest.Run(t, svc.Run)
	nodestest.Run(t, svc.RunTerm)
	if _, err := fmt.Fprintln(os.Stdout, srv.URL); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0)
}

// BenchmarkSession_Memory measures what an idle session costs a server, TLS and HTTP/2 included: the growth of the
// resident memory of a process that only serves.
func BenchmarkSession_Memory(b *testing.B) {
	const agents = 2000
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServeSessions$")
	cmd.Env = append(os.Environ(), memoryAgents+"="+strconv.Itoa(agents))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before := resident(b, cmd.Process.Pid)
		for i := range agents {
			openSession(b, strings.TrimSpace(url), gestor.NodeID("nod_"+strconv.Itoa(i)))
		}
		b.ReportMetric(float64(resident(b, cmd.Process.Pid)-before)/agents, "KiB/session")
	}
}

func openSession(b *testing.B, url string, node gestor.NodeID) {
	b.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP2(true)
	client := agentv1connect.NewAgentServiceClient(&http.Client{Transport: nodestest.AsNode(transport, node)}, url)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	stream, err := client.Session(ctx)
	if err != nil {
		b.Fatal(err)
	}
	say := func(m *agentv1.SessionRequest) {
		if err := stream.Send(m); err != nil {
			b.Fatal(err)
		}
	}
	say(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{
		Version: "test", Facts: &gestorv1.NodeFacts{Cpus: 4, Arch: "amd64", Kernel: strings.Repeat("x", 500)},
	}}})
	if _, err := stream.Receive(); err != nil {
		b.Fatal(err)
	}
	for range 3 {
		say(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Heartbeat{Heartbeat: &agentv1.Heartbeat{Load: &gestorv1.NodeLoad{Cpu: 0.5}}}})
	}
}

// resident is a process's memory in KiB, once it has settled.
func resident(b *testing.B, pid int) int {
	b.Helper()
	<-time.After(3 * time.Second)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for text := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(text, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("the process is gone")
	return 0
}
