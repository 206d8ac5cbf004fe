package mirror_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/mirror"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// fabric is the network between the servers of a test. What is cut is not refused but swallowed.
type fabric struct {
	mu      sync.Mutex
	at      map[string]string // address to server
	cut     map[string]bool   // servers nobody reaches and who reach nobody
	lag     map[string]time.Duration
	changed chan struct{}
}

func newFabric() *fabric {
	return &fabric{at: map[string]string{}, cut: map[string]bool{}, lag: map[string]time.Duration{}, changed: make(chan struct{})}
}

func (f *fabric) set(server string, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[server] = cut
	close(f.changed)
	f.changed = make(chan struct{})
}

// pass waits until two servers can talk; false if the connection is closed meanwhile.
func (f *fabric) pass(a, b string, closed <-chan struct{}) bool {
	for {
		f.mu.Lock()
		cut, lag, changed := f.cut[a] || f.cut[b], max(f.lag[a], f.lag[b]), f.changed
		f.mu.Unlock()
		if !cut {
			return lag == 0 || wait(lag, closed)
		}
		select {
		case <-closed:
			return false
		case <-changed:
		}
	}
}

func (f *fabric) slow(server string, lag time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lag[server] = lag
}

func wait(d time.Duration, closed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-closed:
		return false
	case <-timer.C:
		return true
	}
}

// side is one server's end of the fabric.
type side struct {
	*fabric
	server string
}

func (s side) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err == nil {
		s.mu.Lock()
		s.at[l.Addr().String()] = s.server
		s.mu.Unlock()
	}
	return l, err
}

func (s side) Dial(ctx context.Context, address string) (net.Conn, error) {
	s.mu.Lock()
	to := s.at[address]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if !s.pass(s.server, to, ctx.Done()) {
		return nil, ctx.Err()
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &cable{Conn: c, f: s.fabric, a: s.server, b: to, closed: make(chan struct{})}, nil
}

// cable is a connection that can be cut.
type cable struct {
	net.Conn
	f      *fabric
	a, b   string
	closed chan struct{}
	once   sync.Once
}

func (c *cable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && !c.f.pass(c.a, c.b, c.closed) {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cable) Write(p []byte) (int, error) {
	if !c.f.pass(c.a, c.b, c.closed) {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// servers are the servers of one cluster.
type servers struct {
	t      testing.TB
	root   *pki.Root
	fabric *fabric
	dir    string

	mu      sync.Mutex
	members []cluster.Member
	all     []*server
	wanted  catalogue
}

// server is the part of one that is under test.
type server struct {
	c       *servers
	id      string
	dir     string
	address string

	*mirror.Mirror
	history *history.Store
	blobs   *blob.Store
	port    *peer.Port
	stop    func()
	alive   bool
}

const clusterID = "clu_test"

// newServers starts n servers that know each other; those after the first voters are standbys.
func newServers(t testing.TB, n, voters int) *servers {
	t.Helper()
	root, err := pki.NewRoot(clusterID, "server", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &servers{t: t, root: root, fabric: newFabric(), dir: t.TempDir()}
	for i := range n {
		id := fmt.Sprintf("srv_%d", i+1)
		c.all = append(c.all, &server{c: c, id: id, dir: filepath.Join(c.dir, id), address: "127.0.0.1:0"})
	}
	for i, s := range c.all {
		s.open()
		c.mu.Lock()
		c.members = append(c.members, cluster.Member{ID: s.id, Address: s.address, Voter: i < voters})
		c.mu.Unlock()
	}
	for _, s := range c.all {
		s.start()
	}
	t.Cleanup(func() {
		for _, s := range c.all {
			s.kill()
		}
	})
	return c
}

func (c *servers) known() []cluster.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// open opens the port, so that the address is known.
func (s *server) open() {
	s.c.t.Helper()
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: s.c.root, Cluster: clusterID, Server: s.id, Now: time.Now})
	if err != nil {
		s.c.t.Fatal(err)
	}
	s.port, err = peer.Open(context.Background(), peer.Options{
		Listen: s.address, Self: s.id, Leaf: leaf, Network: side{s.c.fabric, s.id},
		Verifier: pki.PeerVerifier{Roots: s.c.root.Pool(), Cluster: clusterID},
	})
	if err != nil {
		s.c.t.Fatal(err)
	}
	s.address = s.port.Address()
	s.port.Bind(s.c.known, func() string { return "" })
}

func (s *server) start() {
	t := s.c.t
	t.Helper()
	var err error
	if s.history, err = history.Open(history.Options{Dir: filepath.Join(s.dir, "logs"), MaxLog: 64 << 30}); err != nil {
		t.Fatal(err)
	}
	if s.blobs == nil {
		s.openBlobs(filepath.Join(s.dir, "blobs"))
	}
	s.Mirror = mirror.New(mirror.Options{
		Peers: s.port, History: s.history, Blobs: s.blobs, Catalogue: &s.c.wanted, Every: 200 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = s.port.Run(ctx, func(o ...connect.HandlerOption) (string, http.Handler) {
			return peerv1connect.NewStorageServiceHandler(s.Service(), o...)
		})
	})
	running.Go(func() { _ = s.Run(ctx) })
	s.alive = true
	s.stop = func() {
		cancel()
		_ = s.port.Close()
		running.Wait()
		_ = s.history.Close()
		_ = s.blobs.Close()
		s.blobs = nil
	}
}

func (s *server) openBlobs(dir string) {
	s.c.t.Helper()
	var err error
	if s.blobs, err = blob.Open(blob.Options{Dir: dir, MinFree: -1}); err != nil {
		s.c.t.Fatal(err)
	}
}

func (s *server) kill() {
	if s.alive {
		s.alive = false
		s.stop()
	}
}

func (s *server) restart() {
	s.c.t.Helper()
	s.open()
	s.start()
}

// catalogue is what the state would name.
type catalogue struct {
	mu        sync.Mutex
	logs      []string
	artifacts []string
}

func (c *catalogue) Logs(_ context.Context, _ time.Time, use func([]mirror.LogRef) error) error {
	c.mu.Lock()
	var refs []mirror.LogRef
	for _, id := range c.logs {
		refs = append(refs, mirror.LogRef{ID: id, At: time.Now()})
	}
	c.mu.Unlock()
	return use(refs)
}

func (c *catalogue) Artifacts(context.Context) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.artifacts), nil
}

func (c *catalogue) addLog(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logs = append(c.logs, id)
}

func (c *catalogue) addArtifact(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.artifacts = append(c.artifacts, digest)
}

const source = "nod_1/1"

func lines(from, to int) []*gestorv1.LogLine {
	var out []*gestorv1.LogLine
	for i := from; i <= to; i++ {
		out = append(out, &gestorv1.LogLine{Seq: uint64(i), Text: fmt.Sprint(i)})
	}
	return out
}

// push stores lines as an agent would and waits for the acknowledgement.
func (s *server) push(id, source string, from, to int, eof bool) {
	s.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	acked, err := s.Append(ctx, id, source, lines(from, to), eof)
	if err != nil || acked != uint64(to) {
		s.c.t.Fatalf("%s: lines %d to %d: acknowledged %d, %v", s.id, from, to, acked, err)
	}
}

// local is what a server has of a log, without asking others.
func (s *server) local(id string) string {
	s.c.t.Helper()
	return textOf(s.c.t, s.history.Tail, id)
}

// read is what a reader gets at a server.
func (s *server) read(id string) string {
	s.c.t.Helper()
	return textOf(s.c.t, s.Tail, id)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// count is "1 2 3 …".
func count(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return strings.TrimSpace(b.String())
}
