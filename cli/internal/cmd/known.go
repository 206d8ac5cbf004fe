package cmd

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// servers is what a run knows of the servers it may talk to.
type servers struct {
	asked  []string        // --server
	known  client.Context  // in use
	stored string          // its name, if what is learnt of it is to be kept
	mu     sync.Mutex      // guards left: streams run in goroutines of their own
	left   bool            // another server than the first had to be used
	news   bool            // the servers are not those that are known
	told   []client.Server // all of them, if an answer named others than are known; guarded by mu
	notify func(string)    // where notices go while something else owns the terminal
}

// What keeping the list of servers may cost and how often that is done.
const (
	learnEvery   = 24 * time.Hour
	learnTimeout = 2 * time.Second
	keepMost     = 20 // addresses
)

// at is c with other addresses.
func at(c client.Context, addresses []string) (client.Context, error) {
	c.URL, c.Servers = "", nil
	for _, raw := range addresses {
		base, err := client.CheckURL(raw)
		if err != nil {
			return c, err
		}
		if c.URL == "" {
			c.URL = base
		}
		c.Servers = append(c.Servers, client.Server{Address: client.Address(base)})
	}
	return c, nil
}

// moved says once that a server is left for another.
func (r *run) moved(m rpc.Move) {
	r.mu.Lock()
	told := r.left
	r.left = true
	r.mu.Unlock()
	if told {
		return
	}
	verb := "does not answer"
	if m.Answered {
		verb = "cannot serve now"
	}
	text := r.serverName(m.From) + " " + verb + ", using " + r.serverName(m.To)
	if r.notify != nil {
		r.notify(text)
		return
	}
	r.out.Notef("%s", text)
}

func (r *run) serverName(address string) string {
	for _, s := range r.known.Servers {
		if s.Address == address && s.Name != "" {
			return s.Name
		}
	}
	return address
}

// heard compares what a server tells with what is known.
func (r *run) heard(servers []*gestorv1.Server) {
	all := serversOf(servers)
	r.news = r.news || len(all) != len(r.known.Servers)
	for _, s := range all {
		r.news = r.news || !slices.Contains(r.known.Servers, s)
	}
}

// hear takes in the servers that an answer names.
func (r *run) hear(header string) {
	var all []client.Server
	for part := range strings.SplitSeq(header, ",") {
		name, address, ok := strings.Cut(strings.TrimSpace(part), "=")
		if base, err := client.CheckURL(address); ok && err == nil && len(all) < keepMost {
			all = append(all, client.Server{Name: name, Address: client.Address(base)})
		}
	}
	if len(all) == 0 || r.knows(all) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = all
}

// knows reports whether these are the servers that are known. An address without a name is one that people gave: it
// may be another way to one of them.
func (r *run) knows(all []client.Server) bool {
	for _, s := range all {
		if !slices.Contains(r.known.Servers, s) {
			return false
		}
	}
	for _, s := range r.known.Servers {
		if s.Name != "" && !slices.Contains(all, s) {
			return false
		}
	}
	return true
}

// remember keeps the servers of the context in use: after one failed, when they changed, and once a day. It costs little and fails silently.
func (r *run) remember(ctx context.Context) {
	if r.stored == "" || !r.started || r.conn == nil || !r.left && !r.news && r.told == nil && r.env.Now().Sub(r.known.Asked) < learnEvery {
		return
	}
	all, err := r.contexts()
	if err != nil {
		return
	}
	c, ok := all.Contexts[r.stored]
	if !ok || c.Token == "" || c.Token != r.known.Token {
		return // somebody signed in or out meanwhile
	}
	if r.told != nil {
		c.Servers = first(r.conn.Address(), r.told)
		_ = all.Put(r.stored, c)
		return
	}
	_ = all.Put(r.stored, r.learn(context.WithoutCancel(ctx), r.conn, c))
}

// learn asks for all servers of c, which conn talks to. Who may not know them keeps those that are known.
func (r *run) learn(ctx context.Context, conn *client.Client, c client.Context) client.Context {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	if c.Cluster == "" && c.Roots != "" {
		if res, err := conn.Setup().GetSetup(ctx, &gestorv1.GetSetupRequest{}); err == nil {
			c.Cluster = res.GetClusterId()
		}
	}
	res, err := conn.Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
	if err == nil {
		c.Servers = serversOf(res.GetServers())
	}
	if err == nil || fault.KindOf(err) == fault.KindDenied {
		c.Asked = r.env.Now().UTC()
	}
	c.Servers = first(conn.Address(), c.Servers)
	return c
}

// serversOf lists the servers' addresses, the preferred ones of all of them first.
func serversOf(servers []*gestorv1.Server) []client.Server {
	var all []client.Server
	for i, more := 0, true; more && len(all) < keepMost; i++ {
		more = false
		for _, s := range servers {
			if i < len(s.GetAddresses()) {
				more = true
				all = append(all, client.Server{Name: s.GetName(), Address: s.GetAddresses()[i]})
			}
		}
	}
	return all
}

// first puts the server at address, which works from here, before the others.
func first(address string, all []client.Server) []client.Server {
	working := client.Server{Address: address}
	if i := slices.IndexFunc(all, func(s client.Server) bool { return s.Address == address }); i >= 0 {
		working = all[i]
		all = slices.Delete(slices.Clone(all), i, i+1)
	}
	return append([]client.Server{working}, all...)
}

// grace is how long an outage of a stream may last before it is worth a word: another server is found sooner.
func grace(conn *client.Client) time.Duration {
	if len(conn.Addresses()) > 1 {
		return 3 * time.Second
	}
	return 0
}

func (r *run) completeAddresses(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	_, _, c, err := r.target()
	var all []string
	for _, s := range c.Servers {
		all = append(all, s.Address+"\t"+output.Clean(s.Name))
	}
	if err != nil {
		all = nil
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
