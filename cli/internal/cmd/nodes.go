package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) nodesCmd() *cobra.Command {
	return noun("nodes", "The hosts that run an agent", []string{"node"},
		r.nodesListCmd(), r.nodesShowCmd(), r.nodesJoinCmd(), r.nodesDrainCmd(), r.nodesActivateCmd(),
		r.nodesDeleteCmd(), r.nodesWatchCmd(), r.nodesShareCmd(), r.nodesDedicateCmd())
}

func (r *run) nodesListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the nodes", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			nodes, err := allNodes(ctx, conn)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListNodesResponse{Nodes: nodes})
			}
			t := output.NewTable("NAME", "STATUS", "SINCE", "CPU", "MEMORY", "DISK", "TASKS", "AGENT", "WARNINGS")
			for _, n := range nodes {
				f, l := n.GetFacts(), n.GetLoad()
				t.Row(n.GetName(), r.nodeStatus(n), r.out.Ago(n.GetStatusSince()), percent(l), share(l.GetMemoryUsedBytes(), f.GetMemoryBytes()),
					share(l.GetDiskUsedBytes(), f.GetDiskBytes()), count(l), f.GetAgentVersion(), number(len(f.GetWarnings())))
			}
			r.out.Table(t, "no node yet; run: gestor nodes join-command <name>")
			return nil
		}),
	}
}

func allNodes(ctx context.Context, conn *client.Client) ([]*gestorv1.Node, error) {
	service := conn.Nodes()
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.Node, *gestorv1.PageResponse, error) {
		res, err := service.ListNodes(ctx, &gestorv1.ListNodesRequest{Page: p})
		return res.GetNodes(), res.GetPage(), err
	})
}

func (r *run) nodeStatus(n *gestorv1.Node) output.Styled {
	status := r.out.State(output.Enum(n.GetStatus(), "NODE_STATUS_"))
	if n.GetDraining() {
		status += output.Styled(", ") + r.out.State("draining")
	}
	if n.GetShared() {
		status += output.Styled(", shared")
		if !n.GetOwn() {
			status += output.Styled(" by another tenant")
		}
	}
	return status
}

func (r *run) nodesShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show <node>", Short: "Show a node: its host, its load, what is missing there", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Nodes().GetNode(ctx, &gestorv1.GetNodeRequest{Node: args[0]})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.showNode(res.GetNode())
			return nil
		}),
	}
}

func (r *run) showNode(n *gestorv1.Node) {
	f, l := n.GetFacts(), n.GetLoad()
	status := r.nodeStatus(n)
	if n.GetStatusSince() != nil {
		status += output.Styled(" since " + r.out.Ago(n.GetStatusSince()))
	}
	r.out.Fields(
		[2]any{"name", n.GetName()}, [2]any{"id", n.GetId()}, [2]any{"status", status},
		[2]any{"labels", pairs(n.GetLabels())}, [2]any{"enrolled", r.out.Ago(n.GetCreatedAt())},
		[2]any{"host", f.GetHostname()}, [2]any{"system", strings.TrimSpace(f.GetDistribution() + ", kernel " + f.GetKernel() + ", " + f.GetArch())},
		[2]any{"processor", fmt.Sprintf("%d × %s", f.GetCpus(), f.GetCpuModel())},
		[2]any{"addresses", strings.Join(f.GetAddresses(), " ")}, [2]any{"booted", r.out.Ago(f.GetBootedAt())},
		[2]any{"agent", f.GetAgentVersion()}, [2]any{"supervisor", f.GetSupervisor()}, [2]any{"sandbox", f.GetSandbox()},
		[2]any{"tools", pairs(f.GetTools())}, [2]any{"forbidden", strings.Join(f.GetForbiddenKinds(), " ")},
		[2]any{"cpu", percent(l)}, [2]any{"memory", use(l.GetMemoryUsedBytes(), f.GetMemoryBytes())},
		[2]any{"disk", use(l.GetDiskUsedBytes(), f.GetDiskBytes())}, [2]any{"tasks", count(l)}, [2]any{"measured", r.out.Ago(l.GetAt())},
	)
	if l == nil {
		r.out.Notef("no load: the server that answered holds no session of this node")
	}
	for _, w := range f.GetWarnings() {
		r.out.Linef("%s %s", r.out.Paint(output.Yellow, "warning:"), w)
	}
}

func (r *run) nodesJoinCmd() *cobra.Command {
	var labels map[string]string
	var ttl time.Duration
	c := &cobra.Command{
		Use: "join-command <name>", Short: "Print the command that makes a host a node",
		Long: `Print a command to run as root on a host. It holds a token that works once, for one host, for an hour if --ttl says
nothing else.`,
		Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			req := &gestorv1.CreateJoinTokenRequest{Name: args[0], Labels: labels}
			if ttl > 0 {
				req.Ttl = durationpb.New(ttl)
			}
			res, err := conn.Nodes().CreateJoinToken(ctx, req)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Notef("run this as root on the host that will be %s; it works once and expires %s:", args[0], r.out.Ago(res.GetExpiresAt()))
			r.out.Linef("%s", res.GetCommand())
			return nil
		}),
	}
	c.Flags().StringToStringVar(&labels, "label", nil, "a label the node will carry, key=value; may be repeated")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long the token is good for, at most 24h")
	return c
}

func (r *run) nodesDrainCmd() *cobra.Command {
	return &cobra.Command{
		Use: "drain <node>", Short: "Keep new work away from a node; what runs there goes on", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Nodes().DrainNode(ctx, &gestorv1.DrainNodeRequest{Node: args[0]})
			return r.changedNode(res.GetNode(), err, "gets no new work; undo with: gestor nodes activate "+args[0])
		}),
	}
}

func (r *run) nodesActivateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "activate <node>", Short: "Let new work go to a drained node again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Nodes().ActivateNode(ctx, &gestorv1.ActivateNodeRequest{Node: args[0]})
			return r.changedNode(res.GetNode(), err, "gets new work again")
		}),
	}
}

func (r *run) changedNode(n *gestorv1.Node, err error, what string) error {
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetNodeResponse{Node: n})
	}
	r.out.Linef("%s %s", n.GetName(), what)
	return nil
}

func (r *run) nodesDeleteCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete <node>", Short: "Revoke a node's certificate and forget it",
		Long: "Revoke a node's certificate and forget it. What runs on the host keeps running; Gestor cannot reach it any more.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if err := r.confirmName(args[0], "What runs on it keeps running, out of Gestor's reach.", yes); err != nil {
				return err
			}
			if _, err := conn.Nodes().DeleteNode(ctx, &gestorv1.DeleteNodeRequest{Node: args[0]}); err != nil {
				return err
			}
			return r.done("deleted", args[0], "forgot node %s", args[0])
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) nodesWatchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print nodes as they change, until interrupted", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error { return r.watchNodes(ctx, conn) }),
	}
}

func (r *run) watchNodes(ctx context.Context, conn *client.Client) error {
	var after uint64
	names := map[string]string{}
	f := &client.Follow[gestorv1.WatchNodesResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.WatchNodesResponse], error) {
			return conn.Nodes().WatchNodes(ctx, &gestorv1.WatchNodesRequest{AfterRevision: after})
		},
		Each: func(m *gestorv1.WatchNodesResponse) error {
			after = max(after, m.GetRevision())
			if r.out.JSON {
				return r.out.Event(m)
			}
			r.nodeChanges(m, names)
			return nil
		},
		Broken: func(error) { r.out.Notef("connection lost, reconnecting") },
		Back:   func() { r.out.Notef("reconnected") },
		Grace:  grace(conn),
	}
	return f.Run(ctx)
}

func (r *run) nodeChanges(m *gestorv1.WatchNodesResponse, names map[string]string) {
	at := r.out.Now().Format(time.TimeOnly)
	for _, n := range m.GetNodes() {
		names[n.GetId()] = n.GetName()
		r.out.Linef("%s  %s  %s", at, n.GetName(), r.nodeStatus(n))
	}
	for _, id := range m.GetDeletedIds() {
		name := names[id]
		if name == "" {
			name = id
		}
		r.out.Linef("%s  %s  %s", at, name, r.out.State("deleted"))
	}
}

func percent(l *gestorv1.NodeLoad) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", l.GetCpu()*100)
}

func share(used, all uint64) string {
	if all == 0 || used == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%%", float64(used)/float64(all)*100)
}

func use(used, all uint64) string {
	if used == 0 {
		return output.Bytes(all)
	}
	return fmt.Sprintf("%s of %s (%s)", output.Bytes(used), output.Bytes(all), share(used, all))
}

func count(l *gestorv1.NodeLoad) string {
	if l == nil {
		return ""
	}
	return strconv.Itoa(int(l.GetTasks()))
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func pairs(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, strings.TrimSuffix(k+"="+m[k], "="))
	}
	return strings.Join(all, " ")
}
