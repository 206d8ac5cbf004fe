package api

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// appOut finds an app and converts it.
func (r reach) appOut(ctx context.Context, ref string) (*gestorv1.App, error) {
	app, err := r.app(ctx, ref)
	if err != nil {
		return nil, err
	}
	out, err := r.appsOut(ctx, app)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// appsOut converts apps with the addresses at which they are reached.
func (r reach) appsOut(ctx context.Context, apps ...gestor.App) ([]*gestorv1.App, error) {
	nodes, err := r.view.AllNodes(ctx)
	if err != nil {
		return nil, err
	}
	hosts := hostsOf(nodes)
	out := make([]*gestorv1.App, len(apps))
	for i, a := range apps {
		addresses, err := r.addresses(ctx, a, hosts)
		if err != nil {
			return nil, err
		}
		out[i] = appOut(a, addresses)
		if err := r.nameParts(ctx, out[i], a, nodes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// nameParts puts names where an app holds ids: of its nodes and of its live release.
func (r reach) nameParts(ctx context.Context, out *gestorv1.App, a gestor.App, nodes []gestor.Node) error {
	for i, id := range a.Settings.Nodes {
		if at := slices.IndexFunc(nodes, func(n gestor.Node) bool { return n.ID == id }); at >= 0 {
			out.Settings.Nodes[i] = r.nodeRef(nodes[at], nodes)
		}
	}
	if a.CurrentRelease == "" {
		return nil
	}
	live, err := r.view.Release(ctx, a.CurrentRelease)
	if err != nil {
		return err
	}
	out.CurrentRelease = live.Name
	return nil
}

// hostsOf is the first address each node reported, or else its host name.
func hostsOf(nodes []gestor.Node) map[gestor.NodeID]string {
	hosts := make(map[gestor.NodeID]string, len(nodes))
	for _, n := range nodes {
		facts := nodeFacts(n)
		switch {
		case len(facts.GetAddresses()) > 0:
			hosts[n.ID] = facts.GetAddresses()[0]
		case facts.GetHostname() != "":
			hosts[n.ID] = facts.GetHostname()
		}
	}
	return hosts
}

// addresses is where people reach a live app: what the nodes said when they switched to it, or else what its settings
// and the nodes' addresses tell.
func (r reach) addresses(ctx context.Context, a gestor.App, hosts map[gestor.NodeID]string) ([]string, error) {
	if a.CurrentRelease == "" {
		return nil, nil
	}
	said, err := r.saidAddresses(ctx, a)
	if err != nil || len(said) > 0 {
		return said, err
	}
	var own []string
	for _, id := range a.Settings.Nodes {
		if h := hosts[id]; h != "" {
			own = append(own, h)
		}
	}
	return addressesOf(a.Settings, own), nil
}

// saidAddresses is what each node answered to its latest switch to the live release.
func (r reach) saidAddresses(ctx context.Context, a gestor.App) ([]string, error) {
	tasks, _, err := r.view.Tasks(ctx, state.TaskFilter{App: a.ID}, gestor.Page{Size: maxPage})
	if err != nil {
		return nil, err
	}
	var out []string
	answered := map[gestor.NodeID]bool{}
	for _, t := range tasks { // newest first
		if t.Kind != gestor.TaskSwitch || t.State != gestor.TaskSucceeded || answered[t.NodeID] || switchedTo(t) != a.CurrentRelease {
			continue
		}
		answered[t.NodeID] = true
		for _, address := range taskResult(t).GetSwitch().GetAddresses() {
			if !slices.Contains(out, address) {
				out = append(out, address)
			}
		}
	}
	return out, nil
}

// switchedTo is the release a switch was about.
func switchedTo(t gestor.Task) gestor.ReleaseID {
	spec := new(agentv1.TaskSpec)
	if proto.Unmarshal(t.Spec, spec) != nil {
		return ""
	}
	return gestor.ReleaseID(spec.GetSwitch().GetRelease().GetId())
}
