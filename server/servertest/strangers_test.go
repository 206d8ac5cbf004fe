package servertest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/servertest"
)

// stolen is what somebody makes of the data directory of a server: a certificate of its cluster, under any id.
func stolen(t *testing.T, s *servertest.Server, id string) (certificate *tls.Certificate, own string) {
	t.Helper()
	var identity struct {
		Cluster       string `json:"cluster"`
		Server        string `json:"server"`
		ServerRoot    []byte `json:"server_root"`
		ServerRootKey []byte `json:"server_root_key"`
	}
	raw, err := os.ReadFile(filepath.Join(s.Dir, "identity.json"))
	if err == nil {
		err = json.Unmarshal(raw, &identity)
	}
	if err != nil {
		t.Fatal(err)
	}
	ring, err := secret.Open(filepath.Join(s.Dir, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ring.Open(identity.ServerRootKey, "cluster/server_root")
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.LoadRoot(identity.ServerRoot, key)
	if err != nil {
		t.Fatal(err)
	}
	if id == "" {
		id = identity.Server
	}
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: root, Cluster: identity.Cluster, Server: id, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = leaf.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, identity.Server
}

// visit connects to the peer port of s and waits for the server's verdict: an error is a refusal.
func visit(t *testing.T, s *servertest.Server, certificate *tls.Certificate, protocol string) error {
	t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, InsecureSkipVerify: true}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.Peer)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err = bufio.NewReader(conn).ReadByte() // HTTP/2 begins with a frame of the server's; Raft's says nothing
	if errors.Is(err, os.ErrDeadlineExceeded) && protocol == "gestor-raft" {
		return nil
	}
	return err
}

func TestPeerPort_RefusesWhoIsNoMember(t *testing.T) {
	c, other := servertest.NewCluster(t, 1), servertest.NewCluster(t, 1)
	s := c.Servers[0]
	agent := c.FakeAgent("web1", nil)
	member, _ := stolen(t, s, "")
	foreign, _ := stolen(t, other.Servers[0], "")
	unknown, _ := stolen(t, s, "srv_unknown")
	visitors := map[string]*tls.Certificate{
		"nobody": nil, "a server of another cluster": foreign, "a server that is no member": unknown, "an agent": agent.Certificate(),
	}
	for _, protocol := range []string{"gestor-raft", "h2"} {
		if err := visit(t, s, member, protocol); err != nil {
			t.Errorf("a member over %s: %v", protocol, err)
		}
		for who, certificate := range visitors {
			if err := visit(t, s, certificate, protocol); err == nil {
				t.Errorf("%s was let in over %s", who, protocol)
			}
		}
	}
}

func TestPublicPort_TakesNoServerForAnAgent(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	s := c.Servers[0]
	server, _ := stolen(t, s, "")
	for who, certificate := range map[string]*tls.Certificate{"a server": server, "nobody": nil} {
		client := c.Access(s, servertest.Access{Anonymous: true, Certificate: certificate})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		stream, err := agentv1connect.NewAgentServiceClient(client.HTTP, client.URL, client.Options()...).Session(ctx)
		if err == nil {
			if err = stream.Send(&agentv1.SessionRequest{}); err == nil || errors.Is(err, io.EOF) {
				_, err = stream.Receive()
			}
		}
		cancel()
		if err == nil || fault.KindOf(err) == fault.KindTimeout {
			t.Errorf("%s has a session: %v", who, err)
		}
	}
}

func TestPeerServices_AreNotOnThePublicPort(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	client := c.Client(c.Servers[0])
	for _, path := range []string{
		peerv1connect.ReplicationServiceProposeProcedure, peerv1connect.PresenceServiceReportSessionsProcedure, peerv1connect.StorageServiceAppendLogProcedure,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, client.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s answers %d", path, res.StatusCode)
		}
	}
}

// heap is what the process keeps, bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestPeerPort_KeepsNothingOfAMessageOfAGibibyte(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	s := c.Servers[0]
	member, _ := stolen(t, s, "")
	messages := map[string]struct {
		protocol string
		head     []byte
	}{
		"a stranger's":          {"", nil},
		"HTTP/2 without frames": {"h2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
		"entries for Raft":      {"gestor-raft", []byte("\x00\xc6\x40\x00\x00\x00")}, // AppendEntries, a binary of 1 GiB
		"nothing known":         {"gestor-raft", []byte("\xff")},
	}
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			before := heap()
			var conn net.Conn
			var err error
			if m.protocol == "" {
				conn, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Peer)
			} else {
				config := &tls.Config{
					MinVersion: tls.VersionTLS13, NextProtos: []string{m.protocol}, Certificates: []tls.Certificate{*member},
					InsecureSkipVerify: true,
				}
				conn, err = (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", s.Peer)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(m.head)
			piece := make([]byte, 1<<20)
			taken := 0
			for taken < 64 { // of the GiB that was announced
				if _, err := conn.Write(piece); err != nil {
					break
				}
				taken++
			}
			if after := heap(); after > before+32<<20 {
				t.Errorf("it keeps %d MiB after %d MiB were sent", (after-before)>>20, taken)
			}
		})
	}
	if _, err := c.Client(s).Apps().ListApps(t.Context(), &gestorv1.ListAppsRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestPeerPort_LetsMembersInWhileTenThousandStrangersSayNothing(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	key := makeApps(t, c, 1)[0]
	victim := c.WaitLeader()
	const strangers = 10_000
	crowd := make([]net.Conn, strangers)
	defer func() {
		for _, conn := range crowd {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	var dialling sync.WaitGroup
	for part := range 8 {
		dialling.Go(func() {
			for i := part; i < strangers; i += 8 {
				conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", victim.Peer)
				if err == nil {
					crowd[i] = conn
				}
			}
		})
	}
	dialling.Wait()
	came := 0
	for _, conn := range crowd {
		if conn != nil {
			came++
		}
	}
	if came < strangers*9/10 {
		t.Fatalf("only %d connections could be made", came)
	}
	for _, s := range c.Servers {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := c.Client(s).Apps().UpdateApp(ctx, &gestorv1.UpdateAppRequest{App: key, Settings: settings("by " + s.Name)})
		cancel()
		if err != nil {
			t.Errorf("a write through %s: %v", s.Name, err)
		}
	}
}
