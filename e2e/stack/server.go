package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack/lab"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Ports of a server that has a host of its own.
const (
	publicPort = 8443
	PeerPort   = 8444
)

// diskSize is large enough for a server not to find its disk short of space: it keeps 1 GiB free.
const diskSize = 3 << 30

// Server is a control server and where it keeps things.
type Server struct {
	*Process
	Host    string // its name, and that of its host in the network
	Address string // host:port for people and agents
	DataDir string
	Disk    *lab.Disk // what DataDir is on, if the stack was asked for disks

	program string
	network *lab.Network // nil for one that shares this machine's address
	config  string
}

// URL is where people and agents reach it.
func (s *Server) URL() string { return "https://" + s.Address }

// Use makes another build of gestor-server run at the next start.
func (s *Server) Use(program string) {
	s.program = program
	s.path, s.args = program, []string{"run", "--config", s.config}
	if s.network != nil {
		s.path, s.args = s.network.Command(s.Host, s.path, s.args...)
	}
}

// Offline is how another subcommand of gestor-server is run for it while it is stopped.
func (s *Server) Offline(command string, more ...string) (path string, args []string) {
	args = append([]string{command, "--config", s.config}, more...)
	if s.network == nil {
		return s.program, args
	}
	return s.network.Command(s.Host, s.program, args...)
}

// here is the only server, at an address of this machine.
func (s *Stack) here(ports settled) (*Server, error) {
	server := &Server{
		Host: "server", Address: fmt.Sprintf("127.0.0.1:%d", ports.Port), DataDir: filepath.Join(s.Dir, "server"),
		config: filepath.Join(s.Dir, "server.toml"),
	}
	server.Process = &Process{Name: "gestor-server", Log: filepath.Join(s.Dir, "server.log")}
	server.Use(filepath.Join(s.Bin, "gestor-server"))
	return server, s.configure(server, ports, map[string]any{"peer_listen": ""}) // it stays alone: any free port of the loopback interface
}

// configure writes the server's settings.
func (s *Stack) configure(server *Server, ports settled, more map[string]any) error {
	var settings strings.Builder
	fmt.Fprintf(&settings, "data_dir = %q\nlisten = %q\npublic_urls = [%q]\nfirst_uid = %d\n",
		server.DataDir, server.Address, server.URL(), ports.FirstUID)
	for key, value := range more {
		raw, err := json.Marshal(value) // strings and lists of them are written alike in TOML
		if err != nil {
			return err
		}
		fmt.Fprintf(&settings, "%s = %s\n", key, raw)
	}
	return os.WriteFile(server.config, []byte(settings.String()+s.settings), 0o600)
}

// NewHost makes a host and all a server needs to start there, but does not start it. With join it joins the servers
// that are there, for which Join gives it a token.
func (s *Stack) NewHost(ctx context.Context, join bool) (*Server, error) {
	s.hosts++
	host := fmt.Sprintf("server-%d", s.hosts)
	address, err := s.Network.Add(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("make the host %s: %w", host, err)
	}
	dir := filepath.Join(s.Dir, host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	server := &Server{
		Host: host, Address: fmt.Sprintf("%s:%d", address, publicPort), DataDir: filepath.Join(dir, "data"),
		network: s.Network, config: filepath.Join(dir, "server.toml"),
	}
	if s.disks {
		if server.Disk, err = lab.OpenDisk(dir, diskSize); err != nil {
			return nil, err
		}
		s.opened = append(s.opened, server.Disk)
		server.DataDir = filepath.Join(server.Disk.Dir, "data")
	}
	server.Process = &Process{Name: host, Log: filepath.Join(dir, "server.log")}
	s.made = append(s.made, server)
	server.Use(filepath.Join(s.Bin, "gestor-server"))
	peer := fmt.Sprintf("%s:%d", address, PeerPort)
	more := map[string]any{"name": host, "peer_listen": peer, "peer_address": peer}
	if join {
		more["join"] = s.urls()
	}
	return server, s.configure(server, s.ports, more)
}

// urls are where the servers are reached.
func (s *Stack) urls() []string {
	var all []string
	for _, server := range s.Servers {
		all = append(all, server.URL())
	}
	return all
}

// AddServer makes a server on a new host, lets it join, and returns once it answers. It may not have a vote yet, see
// WaitVoters.
func (s *Stack) AddServer(ctx context.Context, more ...string) (*Server, error) {
	server, err := s.NewHost(ctx, true)
	if err != nil {
		return nil, err
	}
	token, err := s.ServerToken(ctx, append([]string{server.Host}, more...)...)
	if err != nil {
		return nil, err
	}
	s.Servers = append(s.Servers, server)
	if err := s.Join(ctx, server, token); err != nil {
		return nil, err
	}
	_, err = s.CLI(ctx, "nodes", "list") // every command keeps the servers that answers tell of
	return server, err
}

// ServerToken makes a one-use token for a server to join with; more are the server's name and flags.
func (s *Stack) ServerToken(ctx context.Context, more ...string) (string, error) {
	out, err := s.CLI(ctx, append([]string{"servers", "add", "--json"}, more...)...)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("read what `gestor servers add` printed: %w: %s", err, out)
	}
	return answer.Token, nil
}

// Join starts a new server with a token and waits until it answers.
func (s *Stack) Join(ctx context.Context, server *Server, token string) error {
	server.env = []string{"GESTOR_JOIN_TOKEN=" + token}
	if err := server.Start(); err != nil {
		return err
	}
	server.env = nil // a server that has joined needs it no more
	return s.WaitListening(ctx, server.Address, server.Process)
}

// Forget takes a server out of the stack's care: it is ended and its host is no more one of the servers'.
func (s *Stack) Forget(server *Server) {
	server.Kill()
	s.Servers = s.Others(server)
	s.Server = s.Servers[0].Process
}

// RollingRestart stops and starts one server after the other; between, when it is down, with does what it likes to it.
func (s *Stack) RollingRestart(ctx context.Context, with func(*Server) error) error {
	for _, server := range s.Servers {
		if err := s.Restart(ctx, server, with); err != nil {
			return fmt.Errorf("restart %s: %w", server.Host, err)
		}
	}
	return nil
}

// Restart stops and starts a server and returns once it has caught up.
func (s *Stack) Restart(ctx context.Context, server *Server, with func(*Server) error) error {
	server.Stop()
	if with != nil {
		if err := with(server); err != nil {
			return err
		}
	}
	if err := server.Start(); err != nil {
		return err
	}
	return s.WaitServers(ctx)
}

// Leader is the server that leads, waited for.
func (s *Stack) Leader(ctx context.Context) (*Server, error) {
	return s.LeaderAmong(ctx, s.Servers...)
}

// LeaderAmong is the one of some servers that leads, as they themselves see it, waited for.
func (s *Stack) LeaderAmong(ctx context.Context, servers ...*Server) (*Server, error) {
	var leader *Server
	err := s.waitList(ctx, "one of "+strings.Join(names(servers), ", ")+" to lead", servers, func(all []*gestorv1.Server) bool {
		for _, info := range all {
			i := slices.IndexFunc(servers, func(s *Server) bool { return s.Host == info.GetName() })
			if info.GetLeader() && info.GetReachable() && i >= 0 {
				leader = servers[i]
			}
		}
		return leader != nil
	})
	return leader, err
}

// Others are the servers but some.
func (s *Stack) Others(but ...*Server) []*Server {
	return slices.DeleteFunc(slices.Clone(s.Servers), func(s *Server) bool { return slices.Contains(but, s) })
}

func names(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Host)
	}
	return all
}

// WaitVoters waits until so many servers have a vote and all have caught up.
func (s *Stack) WaitVoters(ctx context.Context, n int) error {
	return s.waitList(ctx, fmt.Sprintf("%d voters", n), nil, func(all []*gestorv1.Server) bool {
		voters := 0
		for _, info := range all {
			if info.GetRole() == gestorv1.ServerRole_SERVER_ROLE_VOTER && caughtUp(info) {
				voters++
			}
		}
		return voters == n
	})
}

// WaitServers waits until all servers answer and have caught up.
func (s *Stack) WaitServers(ctx context.Context) error {
	return s.waitList(ctx, "all servers to have caught up", nil, func(all []*gestorv1.Server) bool {
		led := false
		for _, info := range all {
			if !caughtUp(info) {
				return false
			}
			led = led || info.GetLeader()
		}
		return led && len(all) >= len(s.Servers)
	})
}

// caughtUp allows for what is written while the question is asked.
func caughtUp(info *gestorv1.Server) bool { return info.GetReachable() && info.GetBehind() < 100 }

// askTimeout is how long the servers may take to tell how they are, before they are asked again.
const askTimeout = 3 * time.Second

// waitList asks some servers, or all, until what they say of themselves is good.
func (s *Stack) waitList(ctx context.Context, what string, at []*Server, good func([]*gestorv1.Server) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	seen := "nothing"
	err := Poll(ctx, what, func(ctx context.Context) (bool, error) {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		all, err := s.ListServers(asking, rpc.Options{Consistency: rpc.ConsistencyLocal}, at...)
		if err != nil {
			if ctx.Err() == nil {
				seen = err.Error() // the servers may be on their way
			}
			return false, nil
		}
		seen = describe(all)
		return good(all), nil
	})
	if err != nil {
		return fmt.Errorf("%w; last seen: %s", err, seen)
	}
	return nil
}

func describe(all []*gestorv1.Server) string {
	var lines []string
	for _, info := range all {
		lines = append(lines, fmt.Sprintf("%s %s leads=%v reachable=%v behind=%d %s", info.GetName(),
			strings.TrimPrefix(info.GetRole().String(), "SERVER_ROLE_"), info.GetLeader(), info.GetReachable(), info.GetBehind(), info.GetNotice()))
	}
	return strings.Join(lines, "; ")
}
