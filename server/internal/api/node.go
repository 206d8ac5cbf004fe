package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Loads knows the latest loads of nodes that hold a session with any server; those without are absent.
type Loads interface {
	Loads(ctx context.Context, nodes []gestor.NodeID) map[gestor.NodeID]*gestorv1.NodeLoad
}

// NodeDeps are what the node service needs; all of it.
type NodeDeps struct {
	Engine    Engine
	Loads     Loads
	Pin       []byte           // SHA-256 of the public key of the servers' root, for join tokens
	PublicURL string           // where agents reach the servers: "https://ctl.example:8443"
	Now       func() time.Time // time.Now if nil
}

// NodeService keeps the hosts that run an agent.
type NodeService struct{ deps NodeDeps }

var _ gestorv1connect.NodeServiceHandler = (*NodeService)(nil)

// NewNodeService makes the service.
func NewNodeService(d NodeDeps) *NodeService {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &NodeService{deps: d}
}

// ListNodes lists the tenant's nodes by name.
func (s *NodeService) ListNodes(ctx context.Context, req *gestorv1.ListNodesRequest) (*gestorv1.ListNodesResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	nodes, next, err := r.view.Nodes(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	return &gestorv1.ListNodesResponse{Nodes: s.out(ctx, r, nodes...), Page: pageOut(next)}, nil
}

// out converts nodes with their loads.
func (s *NodeService) out(ctx context.Context, r reach, nodes ...gestor.Node) []*gestorv1.Node {
	ids := make([]gestor.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	loads := s.deps.Loads.Loads(ctx, ids)
	out := make([]*gestorv1.Node, len(nodes))
	for i, n := range nodes {
		out[i] = nodeOut(n, r.tellable(n, loads[n.ID]))
		out[i].Own = n.TenantID == r.caller.Tenant
	}
	return out
}

// GetNode returns one node.
func (s *NodeService) GetNode(ctx context.Context, req *gestorv1.GetNodeRequest) (*gestorv1.GetNodeResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	n, err := r.node(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetNodeResponse{Node: s.out(ctx, r, n)[0]}, nil
}

const (
	defaultTokenTTL = time.Hour
	maxTokenTTL     = 24 * time.Hour
)

// CreateJoinToken makes a token with which one host may become a node. Only its hash is kept.
func (s *NodeService) CreateJoinToken(ctx context.Context, req *gestorv1.CreateJoinTokenRequest) (*gestorv1.CreateJoinTokenResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if err := r.seesAll("nodes are"); err != nil {
		return nil, err
	}
	ttl, err := joinTokenTTL(req)
	if err != nil {
		return nil, err
	}
	token := pki.NewJoinToken(s.deps.Pin)
	stored := gestor.JoinToken{
		ID: token.ID, TenantID: r.caller.Tenant, SecretHash: pki.HashSecret(token.Secret), NodeName: req.GetName(), Labels: req.GetLabels(),
		NodeID: gestor.NewID[gestor.NodeID]("nod"), ExpiresAt: s.deps.Now().Add(ttl),
	}
	if _, err := r.propose(ctx, "", command.CreateJoinToken{Token: stored}); err != nil {
		return nil, err
	}
	return &gestorv1.CreateJoinTokenResponse{
		Token:     token.String(),
		Command:   "GESTOR_TOKEN=" + token.String() + " gestor-agent join --server " + s.deps.PublicURL,
		ExpiresAt: timeOut(stored.ExpiresAt),
	}, nil
}

// joinTokenTTL checks a request for a token and returns how long the token is good for.
func joinTokenTTL(req *gestorv1.CreateJoinTokenRequest) (time.Duration, error) {
	if err := gestor.CheckNodeName("name", req.GetName()); err != nil {
		return 0, err
	}
	if err := gestor.CheckLabels("labels", req.GetLabels()); err != nil {
		return 0, err
	}
	ttl, err := spanIn("ttl", req.GetTtl())
	switch {
	case err != nil:
		return 0, err
	case req.GetTtl() == nil:
		return defaultTokenTTL, nil
	case ttl <= 0 || ttl > maxTokenTTL:
		return 0, fault.Invalid("ttl", "%s is not between 1 s and %s", ttl, maxTokenTTL).WithFix("leave it out for %s", defaultTokenTTL)
	}
	return ttl, nil
}

// DrainNode keeps new work away from a node.
func (s *NodeService) DrainNode(ctx context.Context, req *gestorv1.DrainNodeRequest) (*gestorv1.DrainNodeResponse, error) {
	n, err := s.setDraining(ctx, req.GetNode(), true)
	return &gestorv1.DrainNodeResponse{Node: n}, err
}

// ActivateNode lets new work go to a node again.
func (s *NodeService) ActivateNode(ctx context.Context, req *gestorv1.ActivateNodeRequest) (*gestorv1.ActivateNodeResponse, error) {
	n, err := s.setDraining(ctx, req.GetNode(), false)
	return &gestorv1.ActivateNodeResponse{Node: n}, err
}

func (s *NodeService) setDraining(ctx context.Context, ref string, draining bool) (*gestorv1.Node, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	n, err := r.node(ctx, ref)
	if err != nil {
		return nil, err
	}
	manager, err := r.manages(n)
	if err != nil {
		return nil, err
	}
	if _, err := manager.propose(ctx, "", command.SetNodeDraining{ID: n.ID, Draining: draining}); err != nil {
		return nil, err
	}
	if n, err = r.node(ctx, string(n.ID)); err != nil {
		return nil, err
	}
	return s.out(ctx, r, n)[0], nil
}

// DeleteNode forgets a node; its certificate is worth nothing from then on.
func (s *NodeService) DeleteNode(ctx context.Context, req *gestorv1.DeleteNodeRequest) (*gestorv1.DeleteNodeResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	n, err := r.node(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	manager, err := r.manages(n)
	if err != nil {
		return nil, err
	}
	_, err = manager.propose(ctx, "", command.DeleteNode{ID: n.ID})
	return &gestorv1.DeleteNodeResponse{}, err
}

// WatchNodes sends all nodes, then those that changed and the ids of those that are gone. Nodes that went while nobody
// watched are not told: a caller that resumes lists once more if it must know.
func (s *NodeService) WatchNodes(ctx context.Context, req *gestorv1.WatchNodesRequest, stream *connect.ServerStream[gestorv1.WatchNodesResponse]) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	w := nodeWatch{revision: req.GetAfterRevision(), first: true}
	return follow(ctx, s.deps.Engine, func() (bool, error) {
		nodes, err := r.view.AllNodes(ctx)
		if err != nil {
			return false, err
		}
		changed, deleted := w.next(nodes)
		if len(changed) == 0 && len(deleted) == 0 && !w.first {
			return false, nil
		}
		w.first = false
		return false, stream.Send(&gestorv1.WatchNodesResponse{Nodes: s.out(ctx, r, changed...), DeletedIds: deleted, Revision: w.revision})
	}, state.Nodes)
}

// nodeWatch is what a watcher knows.
type nodeWatch struct {
	revision uint64
	first    bool
	known    map[gestor.NodeID]bool
}

// next takes all nodes of one moment and returns those that changed since the one before, and the ids of those gone.
func (w *nodeWatch) next(all []gestor.Node) (changed []gestor.Node, deleted []string) {
	now := make(map[gestor.NodeID]bool, len(all))
	newest := w.revision
	for _, n := range all {
		now[n.ID] = true
		if n.Revision > w.revision {
			changed = append(changed, n)
			newest = max(newest, n.Revision)
		}
	}
	for id := range w.known {
		if !now[id] {
			deleted = append(deleted, string(id))
		}
	}
	w.known, w.revision = now, newest
	return changed, deleted
}
