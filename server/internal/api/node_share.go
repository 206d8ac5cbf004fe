package api

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ShareNode lets every tenant place apps on a node.
func (s *NodeService) ShareNode(ctx context.Context, req *gestorv1.ShareNodeRequest) (*gestorv1.ShareNodeResponse, error) {
	r, n, err := s.anyNode(ctx, req.GetNode(), req.GetTenant())
	if err != nil {
		return nil, err
	}
	out, err := s.share(ctx, r, command.ShareNode{ID: n.ID, Shared: true})
	return &gestorv1.ShareNodeResponse{Node: out}, err
}

// DedicateNode keeps a node for one tenant.
func (s *NodeService) DedicateNode(ctx context.Context, req *gestorv1.DedicateNodeRequest) (*gestorv1.DedicateNodeResponse, error) {
	r, n, err := s.anyNode(ctx, req.GetNode(), req.GetTenant())
	if err != nil {
		return nil, err
	}
	op := command.ShareNode{ID: n.ID}
	if req.GetTo() != "" {
		to, err := r.tenant(ctx, req.GetTo())
		if err != nil {
			return nil, err
		}
		op.Owner = to.ID
	}
	out, err := s.share(ctx, r, op)
	return &gestorv1.DedicateNodeResponse{Node: out}, err
}

// anyNode finds a node for an operator: by its id, or by its name in a tenant, the caller's if none is named.
func (s *NodeService) anyNode(ctx context.Context, ref, tenant string) (reach, gestor.Node, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return reach{}, gestor.Node{}, err
	}
	within := r.caller.Tenant
	if tenant != "" {
		t, err := r.tenant(ctx, tenant)
		if err != nil {
			return reach{}, gestor.Node{}, err
		}
		within = t.ID
	}
	if isNodeID(ref) {
		n, err := r.view.Node(ctx, gestor.NodeID(ref))
		return r, n, absent(err, "node", ref)
	}
	n, err := r.view.OwnNodeByName(ctx, within, ref)
	return r, n, absent(err, "node", ref)
}

func (s *NodeService) share(ctx context.Context, r reach, op command.ShareNode) (*gestorv1.Node, error) {
	if _, err := r.propose(ctx, "", op); err != nil {
		return nil, err
	}
	n, err := r.view.Node(ctx, op.ID)
	if err != nil {
		return nil, err
	}
	return s.out(ctx, r, n)[0], nil
}

// nodeRef is how the caller names a node: by its name, or by its id where the name means another, so that settings which are
// read and written back mean the same nodes.
func (r reach) nodeRef(n gestor.Node, all []gestor.Node) string {
	meant := n
	for _, other := range all {
		if other.Name == n.Name && r.before(other, meant) {
			meant = other
		}
	}
	if meant.ID != n.ID {
		return string(n.ID)
	}
	return n.Name
}

// before reports whether a name that a and b have means a: own nodes go first, then older ones, as state.NodeByName has it.
func (r reach) before(a, b gestor.Node) bool {
	if own := a.TenantID == r.caller.Tenant; own != (b.TenantID == r.caller.Tenant) {
		return own
	}
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) < 0
}

// manages is the reach with which the caller changes a node: the own for a node of the tenant. A shared node of another
// tenant is managed by operators only.
func (r reach) manages(n gestor.Node) (reach, error) {
	if n.TenantID == r.caller.Tenant {
		return r, r.seesAll("nodes are")
	}
	if !r.caller.User.Operator || !r.caller.May(gestorv1.Permission_PERMISSION_PLATFORM_MANAGE) {
		return reach{}, fault.Denied("the node %s is shared and belongs to another tenant", n.Name).WithFix("ask an operator of this installation")
	}
	r.caller.Actor.Operator = true
	return r, nil
}

// tellable is what the caller may know of a node's load: of another tenant's node how busy the host is, and not with how
// many tasks.
func (r reach) tellable(n gestor.Node, load *gestorv1.NodeLoad) *gestorv1.NodeLoad {
	if load == nil || n.TenantID == r.caller.Tenant {
		return load
	}
	told, ok := proto.Clone(load).(*gestorv1.NodeLoad)
	if !ok {
		return nil
	}
	told.Tasks = 0
	return told
}
