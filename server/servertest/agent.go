package servertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// Work carries out a task of a FakeAgent and says how it ended; ctx ends when it is cancelled. It does not return nil.
type Work func(ctx context.Context, j *Job) *agentv1.TaskFinished

// FakeAgent is an agent whose tasks are a script. To the servers it is one like any other: it enrols with a token, shows
// its certificate, keeps a session with one of the servers it knows and goes to another when that breaks, renews leases,
// refuses what its journal has a higher fence for, and tells results until they are acknowledged.
type FakeAgent struct {
	Name string
	ID   string // "nod_…"

	cluster     *Cluster
	work        Work
	certificate tls.Certificate
	serverName  string // in the servers' certificates
	changed     chan struct{}

	mu       sync.Mutex
	servers  []string          // addresses, as last told; guarded by mu, as all below
	jobs     map[string]*Job   // by task
	fences   map[string]uint64 // the highest by resource
	busy     map[string]*Job   // the last by resource
	spooled  []*Job            // acknowledged, with lines that are not stored
	effects  []*Effect
	goodbyes []string
	sessions []string      // addresses of servers, as sessions were opened
	linked   chan struct{} // closed while there is a session
}

// FakeAgent enrols an agent and keeps it in session until the test ends. work is Succeed if nil.
func (c *Cluster) FakeAgent(name string, work Work) *FakeAgent {
	c.t.Helper()
	if work == nil {
		work = Succeed
	}
	a := &FakeAgent{
		Name: name, cluster: c, work: work, changed: make(chan struct{}, 1),
		jobs: map[string]*Job{}, fences: map[string]uint64{}, busy: map[string]*Job{}, linked: make(chan struct{}),
	}
	a.enrol()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

// enrol makes a token as a person would and shows it to a server.
func (a *FakeAgent) enrol() {
	t := a.cluster.t
	t.Helper()
	var made *gestorv1.CreateJoinTokenResponse
	request := &gestorv1.CreateJoinTokenRequest{Name: a.Name}
	a.cluster.Await(startLimit, "a join token", func(ctx context.Context) (err error) {
		made, err = a.cluster.Any().Nodes().CreateJoinToken(ctx, request)
		return err
	})
	token, err := pki.ParseJoinToken(made.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: a.Name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	var res *agentv1.EnrollResponse
	a.cluster.Await(startLimit, a.Name+" to enrol", func(ctx context.Context) (err error) {
		client := a.cluster.Access(a.cluster.running(), Access{From: a.Name, Anonymous: true, Seen: a.cluster.Seen()})
		enrolment := agentv1connect.NewEnrollmentServiceClient(client.HTTP, client.URL, client.Options()...)
		res, err = enrolment.Enroll(ctx, &agentv1.EnrollRequest{TokenId: token.ID, TokenSecret: token.Secret, Csr: csr, Facts: facts()})
		return err
	})
	id := res.GetIdentity()
	a.ID, a.serverName = id.GetNodeId(), rpc.ServerName(id.GetClusterId())
	a.certificate = tls.Certificate{Certificate: [][]byte{id.GetCertificate()}, PrivateKey: key}
	for _, s := range a.cluster.Servers { // what a renewal would have told
		a.servers = append(a.servers, s.Public)
	}
}

func facts() *gestorv1.NodeFacts {
	return &gestorv1.NodeFacts{Hostname: "test", Os: "linux", Arch: "amd64", Cpus: 4, AgentVersion: "test"}
}

// Certificate is the agent's, for tests that misuse it.
func (a *FakeAgent) Certificate() *tls.Certificate { return &a.certificate }

// Goodbyes are the reasons servers gave for ending sessions.
func (a *FakeAgent) Goodbyes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.goodbyes)
}

// Sessions are the addresses of the servers that sessions were opened with, in order.
func (a *FakeAgent) Sessions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.sessions)
}

// Connected is closed while there is a session.
func (a *FakeAgent) Connected() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.linked
}

// run keeps a session open.
func (a *FakeAgent) run(ctx context.Context) {
	config := a.cluster.trust()
	config.ServerName = a.serverName
	config.Certificates = []tls.Certificate{a.certificate}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	last := ""
	for ctx.Err() == nil {
		address := a.choose(last)
		last = address
		wait := a.session(ctx, address, config)
		select {
		case <-ctx.Done():
		case <-time.After(wait + mathrand.N(100*time.Millisecond)): //nolint:gosec // jitter
		}
	}
}

// choose picks a server, another one than the last if there is one.
func (a *FakeAgent) choose(last string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(a.servers), func(s string) bool { return s == last })
	if len(others) == 0 {
		others = a.servers
	}
	return others[mathrand.IntN(len(others))] //nolint:gosec // no secret
}

// helloLimit is how long a server may take to say hello.
const helloLimit = 2 * time.Second

// session keeps one session until it ends, and returns how long the server asked to wait.
func (a *FakeAgent) session(ctx context.Context, address string, config *tls.Config) time.Duration {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := newClient(a.cluster.Network.Endpoint(a.Name), address, config, headers{})
	defer client.HTTP.CloseIdleConnections()
	service := agentv1connect.NewAgentServiceClient(client.HTTP, client.URL, client.Options()...)
	stream, err := service.Session(ctx)
	if err != nil {
		return 0
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer stop()
	slow := time.AfterFunc(helloLimit, cancel)
	defer slow.Stop()
	if stream.Send(a.hello()) != nil {
		return 0
	}
	m, err := stream.Receive()
	if err != nil || m.GetHello() == nil || !slow.Stop() {
		return 0
	}
	a.learn(m.GetHello())
	a.opened(address)
	defer a.closed()
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() {
		defer cancel()
		a.speak(ctx, m.GetHello().GetHeartbeat().AsDuration(), stream.Send)
	})
	parts.Go(func() { a.pushLogs(ctx, service) })
	for {
		m, err := stream.Receive()
		if err != nil {
			return 0
		}
		if bye := m.GetGoodbye(); bye != nil {
			a.mu.Lock()
			a.goodbyes = append(a.goodbyes, bye.GetReason())
			a.mu.Unlock()
			return bye.GetRetryAfter().AsDuration()
		}
		if again := m.GetHello(); again != nil {
			a.learn(again)
			continue
		}
		a.take(m) //nolint:contextcheck // tasks outlive the session that brought them
	}
}

// hello names everything in the journal and lets all of it be told anew.
func (a *FakeAgent) hello() *agentv1.SessionRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	var highest uint64
	for _, f := range a.fences {
		highest = max(highest, f)
	}
	for _, j := range a.jobs {
		j.startSent, j.finishSent = false, false
	}
	return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{
		Version: "test", BootId: "boot-" + a.Name, Facts: facts(), Tasks: a.held(), Revision: highest,
	}}}
}

// held are the tasks of the journal. a.mu is held.
func (a *FakeAgent) held() []*agentv1.HeldTask {
	var out []*agentv1.HeldTask
	for id, j := range a.jobs {
		out = append(out, &agentv1.HeldTask{TaskId: id, Fence: j.Spec.GetFence()})
	}
	return out
}

func (a *FakeAgent) opened(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, address)
	close(a.linked)
}

// learn takes over where the servers are, told at the beginning of a session and whenever it changes.
func (a *FakeAgent) learn(h *agentv1.ServerHello) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(h.GetServers()) > 0 {
		a.servers = h.GetServers()
	}
}

func (a *FakeAgent) closed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.linked = make(chan struct{})
}

// speak sends heartbeats and what there is to tell, until ctx or the stream ends.
func (a *FakeAgent) speak(ctx context.Context, every time.Duration, send func(*agentv1.SessionRequest) error) {
	if every <= 0 {
		every = time.Second
	}
	beat := time.NewTicker(every)
	defer beat.Stop()
	a.signal()
	for {
		var out []*agentv1.SessionRequest
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
			out = a.pending()
		case <-beat.C:
			out = append(out, a.heartbeat())
		}
		for _, m := range out {
			if send(m) != nil {
				return
			}
		}
	}
}

func (a *FakeAgent) heartbeat() *agentv1.SessionRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Heartbeat{Heartbeat: &agentv1.Heartbeat{
		Tasks: a.held(), Load: &gestorv1.NodeLoad{Tasks: int32(len(a.jobs))},
	}}}
}

func (a *FakeAgent) signal() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Await waits until ok holds for the agent's effects.
func (a *FakeAgent) Await(limit time.Duration, what string, ok func(effects []Effect) bool) {
	a.cluster.t.Helper()
	a.cluster.Await(limit, what, func(context.Context) error {
		if effects := a.Effects(); !ok(effects) {
			return fmt.Errorf("%s did %v", a.Name, effects)
		}
		return nil
	})
}
