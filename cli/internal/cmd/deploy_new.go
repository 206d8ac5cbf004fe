package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/cli/internal/source"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// newAppOptions answer the questions about an app that deploy makes.
type newAppOptions struct {
	slug, root string
	nodes      []string
	domains    []string
	port       int32
}

func (o *newAppOptions) flags(c *cobra.Command, r *run) {
	f := c.Flags()
	f.StringVar(&o.slug, "slug", "", "a new app's name (default: the repository's)")
	f.StringVar(&o.root, "root", "", "a new app's folder inside the repository")
	f.StringArrayVar(&o.nodes, "node", nil, "a node a new app runs on; may be repeated")
	f.StringArrayVar(&o.domains, "domain", nil, "a host name a new app answers to; may be repeated")
	f.Int32Var(&o.port, "port", 0, "the port the web server listens on for a new app")
	_ = c.RegisterFlagCompletionFunc("node", r.completeNodes)
}

// newApp looks into the repository, proposes an app, asks, and makes it.
func (r *run) newApp(ctx context.Context, conn *client.Client, repo source.Repository, apps []*gestorv1.App, o deployOptions) (string, error) {
	if repo.Remote == "" {
		return "", fault.NotFound("the repository at %s has no remote, so the servers cannot fetch it", repo.Root).
			WithFix("add a remote, or use --local if a node may read that path")
	}
	if !o.yes && (!r.env.InTerminal || r.out.JSON) {
		return "", fault.NotFound("no app comes from %s", origin(repo)).
			WithFix("add --yes to make one, or make it yourself with gestor apps create")
	}
	nodes, err := r.nodesFor(ctx, conn, o)
	if err != nil {
		return "", err
	}
	ref := o.ref
	if ref == "" {
		ref = repo.Branch
	}
	found, err := r.detect(ctx, conn, &gestorv1.DetectAppRequest{Repository: repo.Remote, Ref: ref, Root: o.newApp.root, RequestId: requestID()})
	if err != nil {
		return "", err
	}
	req := propose(repo, found, nodes, apps, o)
	r.showProposal(req, found)
	if !o.yes {
		if err := r.confirm("Make this app and deploy it?", "--yes"); err != nil {
			return "", err
		}
	}
	res, err := conn.Apps().CreateApp(ctx, req)
	if err != nil {
		return "", hintTaken(err)
	}
	return res.GetApp().GetSlug(), nil
}

func hintTaken(err error) error {
	if fault.KindOf(err) == fault.KindExists {
		return fault.Exists("%v", err).WithFix("choose another name with --slug")
	}
	return err
}

// detect asks a node to look into the repository.
func (r *run) detect(ctx context.Context, conn *client.Client, req *gestorv1.DetectAppRequest) (*gestorv1.Detection, error) {
	r.out.Notef("looking into %s", req.GetRepository())
	res, err := conn.Apps().DetectApp(ctx, req)
	if err != nil {
		return nil, err
	}
	var last *gestorv1.Task
	waiting := ""
	err = r.followTask(ctx, conn, res.GetTaskId(), func(m *gestorv1.WatchTaskResponse) error {
		last = m.GetTask()
		if w := last.GetWaiting(); w != "" && w != waiting {
			r.out.Notef("waiting: %s", w)
		}
		waiting = last.GetWaiting()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
		return nil, failed("the repository could not be looked into: %s", last.GetError()).
			withFix("if it is private, make the app first, which gives you its deploy key: gestor apps create %s --repository %s",
				source.Slug(req.GetRepository()), req.GetRepository())
	}
	if last.GetDetection().GetType() == gestorv1.AppType_APP_TYPE_UNSPECIFIED {
		return nil, failed("no runner fits %s: %s", req.GetRepository(), strings.Join(last.GetDetection().GetReasons(), "; ")).
			withFix("say the folder with --root, or the type with gestor apps create --type")
	}
	return last.GetDetection(), nil
}

// nodesFor are the nodes a new app runs on: those named, the only one there is, or the one a person chooses.
func (r *run) nodesFor(ctx context.Context, conn *client.Client, o deployOptions) ([]string, error) {
	if len(o.newApp.nodes) > 0 {
		return o.newApp.nodes, nil
	}
	all, err := allNodes(ctx, conn)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		if n.GetStatus() == gestorv1.NodeStatus_NODE_STATUS_CONNECTED && !n.GetDraining() {
			names = append(names, n.GetName())
		}
	}
	switch {
	case len(names) == 0:
		return nil, fault.Conflict("no node is connected").WithFix("add one with: gestor nodes join-command <name>")
	case len(names) == 1:
		return names, nil
	case o.yes || !r.env.InTerminal:
		return nil, fault.Invalid("--node", "several nodes are connected: %s", strings.Join(names, ", ")).
			WithFix("choose with --node, which may be repeated")
	}
	return r.askNodes(names)
}

func (r *run) askNodes(names []string) ([]string, error) {
	r.out.Notef("nodes: %s", strings.Join(names, ", "))
	answer, err := r.ask("On which of them? [" + names[0] + "]")
	if err != nil {
		return nil, err
	}
	chosen := strings.FieldsFunc(answer, func(c rune) bool { return c == ' ' || c == ',' })
	if len(chosen) == 0 {
		return names[:1], nil
	}
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return nil, fault.NotFound("there is no connected node %q", name)
		}
	}
	return chosen, nil
}

// propose describes the new app. What the runner found is left to the runner, so that it follows the repository.
func propose(repo source.Repository, found *gestorv1.Detection, nodes []string, apps []*gestorv1.App, o deployOptions) *gestorv1.CreateAppRequest {
	settings := &gestorv1.AppSettings{
		Repository: repo.Remote, Branch: found.GetBranch(), Type: found.GetType(), Root: o.newApp.root,
		Nodes: nodes, Domains: o.newApp.domains, Port: o.newApp.port,
	}
	if settings.GetBranch() == "" {
		settings.Branch = repo.Branch
	}
	if len(settings.GetDomains()) == 0 && settings.GetPort() == 0 {
		settings.Port = freePort(apps)
	}
	slug := o.newApp.slug
	if slug == "" {
		slug = freeSlug(source.Slug(repo.Remote), apps)
	}
	return &gestorv1.CreateAppRequest{Slug: slug, Settings: settings, RequestId: requestID()}
}

// freePort is 0, the node's HTTP port, while no app without a domain answers there, and then the first free from 8081.
func freePort(apps []*gestorv1.App) int32 {
	taken := map[int32]bool{}
	for _, a := range apps {
		if len(a.GetSettings().GetDomains()) == 0 || a.GetSettings().GetPort() != 0 {
			taken[a.GetSettings().GetPort()] = true
		}
	}
	if !taken[0] {
		return 0
	}
	port := int32(8081)
	for taken[port] {
		port++
	}
	return port
}

// freeSlug adds a number if another app of this tenant, from another repository, has the name already.
func freeSlug(slug string, apps []*gestorv1.App) string {
	taken := map[string]bool{}
	for _, a := range apps {
		taken[a.GetSlug()] = true
	}
	free := slug
	for n := 2; taken[free]; n++ {
		suffix := fmt.Sprintf("-%d", n)
		free = slug[:min(len(slug), 28-len(suffix))] + suffix
	}
	return free
}

func (r *run) showProposal(req *gestorv1.CreateAppRequest, d *gestorv1.Detection) {
	if r.out.JSON {
		return
	}
	r.out.Linef("found %s", r.out.Paint(output.Bold, "a "+output.Enum(d.GetType(), "APP_TYPE_")+" app"))
	for _, why := range d.GetReasons() {
		r.out.Linef("  because %s", why)
	}
	s := req.GetSettings()
	r.out.Fields(
		[2]any{"  app", req.GetSlug()}, [2]any{"  repository", s.GetRepository()}, [2]any{"  branch", s.GetBranch()},
		[2]any{"  runtime", d.GetRuntime()}, [2]any{"  build", d.GetBuildCommand()}, [2]any{"  start", d.GetStartCommand()},
		[2]any{"  serves", d.GetOutput()}, [2]any{"  nodes", strings.Join(s.GetNodes(), " ")}, [2]any{"  answers to", answersTo(s)},
	)
}

func answersTo(s *gestorv1.AppSettings) string {
	port := "the node's HTTP port"
	if s.GetPort() != 0 {
		port = fmt.Sprintf("port %d", s.GetPort())
	}
	if len(s.GetDomains()) == 0 {
		return "every name on " + port
	}
	return strings.Join(s.GetDomains(), " ") + " on " + port
}
