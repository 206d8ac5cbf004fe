package clitest

import (
	"context"
	"net/http"
	"slices"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type (
	setup       struct{ *Server }
	sessions    struct{ *Server }
	nodes       struct{ *Server }
	apps        struct{ *Server }
	builds      struct{ *Server }
	releases    struct{ *Server }
	deployments struct{ *Server }
	tasks       struct{ *Server }
	logs        struct{ *Server }
)

func session() *gestorv1.Session {
	return &gestorv1.Session{Id: "ses_1", UserId: "usr_1", Email: Email, Role: gestorv1.Role_ROLE_ADMIN, TenantId: "ten_1", TenantName: "Example"}
}

func find[T any](all []T, what, name string, is func(T) bool) (T, error) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], nil
	}
	var none T
	return none, fault.NotFound("there is no %s %q", what, name)
}

func (h setup) GetSetup(context.Context, *gestorv1.GetSetupRequest) (*gestorv1.GetSetupResponse, error) {
	return &gestorv1.GetSetupResponse{Claimed: !h.state.Unclaimed, ClusterId: Cluster, Version: "9.9.9"}, nil
}

func (h setup) Claim(_ context.Context, r *gestorv1.ClaimRequest) (*gestorv1.ClaimResponse, error) {
	if r.GetSecret() != Secret {
		return nil, fault.Denied("the secret is not the one the server printed")
	}
	return &gestorv1.ClaimResponse{Session: session(), Token: Token}, nil
}

func (h sessions) CreateSession(_ context.Context, r *gestorv1.CreateSessionRequest) (*gestorv1.CreateSessionResponse, error) {
	if r.GetEmail() != Email || r.GetPassword() != Password {
		return nil, fault.Unauthenticated("e-mail and password do not fit").WithFix("try again")
	}
	if len(h.state.SecondFactor) > 0 {
		return h.ask(), nil
	}
	return &gestorv1.CreateSessionResponse{Session: session(), Token: Token}, nil
}

func (h sessions) GetSession(context.Context, *gestorv1.GetSessionRequest) (*gestorv1.GetSessionResponse, error) {
	return &gestorv1.GetSessionResponse{Session: session(), Permissions: []gestorv1.Permission{gestorv1.Permission_PERMISSION_APP_READ, gestorv1.Permission_PERMISSION_DEPLOY}}, nil
}

func (h sessions) DeleteSession(context.Context, *gestorv1.DeleteSessionRequest) (*gestorv1.DeleteSessionResponse, error) {
	return &gestorv1.DeleteSessionResponse{}, nil
}

func (h nodes) ListNodes(context.Context, *gestorv1.ListNodesRequest) (*gestorv1.ListNodesResponse, error) {
	return &gestorv1.ListNodesResponse{Nodes: h.state.Nodes}, nil
}

func (h nodes) node(name string) (*gestorv1.Node, error) {
	return find(h.state.Nodes, "node", name, func(n *gestorv1.Node) bool { return n.GetName() == name || n.GetId() == name })
}

func (h nodes) GetNode(_ context.Context, r *gestorv1.GetNodeRequest) (*gestorv1.GetNodeResponse, error) {
	n, err := h.node(r.GetNode())
	return &gestorv1.GetNodeResponse{Node: n}, err
}

func (h nodes) WatchNodes(_ context.Context, _ *gestorv1.WatchNodesRequest, out *connect.ServerStream[gestorv1.WatchNodesResponse]) error {
	return out.Send(&gestorv1.WatchNodesResponse{Nodes: h.state.Nodes, Revision: 1})
}

func (h nodes) CreateJoinToken(_ context.Context, r *gestorv1.CreateJoinTokenRequest) (*gestorv1.CreateJoinTokenResponse, error) {
	return &gestorv1.CreateJoinTokenResponse{Token: "gst1.pin.id.secret", Command: "curl … | sudo GESTOR_TOKEN=gst1.pin.id.secret sh # " + r.GetName()}, nil
}

func (h nodes) DrainNode(_ context.Context, r *gestorv1.DrainNodeRequest) (*gestorv1.DrainNodeResponse, error) {
	n, err := h.node(r.GetNode())
	return &gestorv1.DrainNodeResponse{Node: n}, err
}

func (h nodes) ActivateNode(_ context.Context, r *gestorv1.ActivateNodeRequest) (*gestorv1.ActivateNodeResponse, error) {
	n, err := h.node(r.GetNode())
	return &gestorv1.ActivateNodeResponse{Node: n}, err
}

func (h nodes) DeleteNode(_ context.Context, r *gestorv1.DeleteNodeRequest) (*gestorv1.DeleteNodeResponse, error) {
	_, err := h.node(r.GetNode())
	return &gestorv1.DeleteNodeResponse{}, err
}

func (h apps) app(name string) (*gestorv1.App, error) {
	return find(h.state.Apps, "app", name, func(a *gestorv1.App) bool { return a.GetSlug() == name || a.GetId() == name })
}

func (h apps) ListApps(context.Context, *gestorv1.ListAppsRequest) (*gestorv1.ListAppsResponse, error) {
	return &gestorv1.ListAppsResponse{Apps: h.state.Apps}, nil
}

func (h apps) GetApp(_ context.Context, r *gestorv1.GetAppRequest) (*gestorv1.GetAppResponse, error) {
	a, err := h.app(r.GetApp())
	return &gestorv1.GetAppResponse{App: a}, err
}

func (h apps) CreateApp(_ context.Context, r *gestorv1.CreateAppRequest) (*gestorv1.CreateAppResponse, error) {
	return &gestorv1.CreateAppResponse{App: &gestorv1.App{Id: "app_new", Slug: r.GetSlug(), Settings: r.GetSettings(), DeployKey: "ssh-ed25519 AAAA gestor"}}, nil
}

func (h apps) UpdateApp(_ context.Context, r *gestorv1.UpdateAppRequest) (*gestorv1.UpdateAppResponse, error) {
	a, err := h.app(r.GetApp())
	if err == nil && r.GetExpectedRevision() != a.GetRevision() {
		err = fault.Conflict("somebody changed %s meanwhile", r.GetApp())
	}
	return &gestorv1.UpdateAppResponse{App: &gestorv1.App{Slug: a.GetSlug(), Settings: r.GetSettings()}}, err
}

func (h apps) DeleteApp(_ context.Context, r *gestorv1.DeleteAppRequest) (*gestorv1.DeleteAppResponse, error) {
	_, err := h.app(r.GetApp())
	return &gestorv1.DeleteAppResponse{TaskIds: []string{"tsk_remove"}}, err
}

func (h apps) ListEnv(context.Context, *gestorv1.ListEnvRequest) (*gestorv1.ListEnvResponse, error) {
	return &gestorv1.ListEnvResponse{Vars: h.state.Env}, nil
}

func (h apps) UpdateEnv(context.Context, *gestorv1.UpdateEnvRequest) (*gestorv1.UpdateEnvResponse, error) {
	return &gestorv1.UpdateEnvResponse{Vars: h.state.Env}, nil
}

func (h apps) DetectApp(context.Context, *gestorv1.DetectAppRequest) (*gestorv1.DetectAppResponse, error) {
	return &gestorv1.DetectAppResponse{TaskId: "tsk_detect"}, nil
}

func (h builds) ListBuilds(context.Context, *gestorv1.ListBuildsRequest) (*gestorv1.ListBuildsResponse, error) {
	return &gestorv1.ListBuildsResponse{Builds: h.state.Builds}, nil
}

func (h builds) GetBuild(_ context.Context, r *gestorv1.GetBuildRequest) (*gestorv1.GetBuildResponse, error) {
	b, err := find(h.state.Builds, "build", r.GetId(), func(b *gestorv1.Build) bool {
		return b.GetId() == r.GetId() || (r.GetNumber() != 0 && b.GetNumber() == r.GetNumber())
	})
	return &gestorv1.GetBuildResponse{Build: b}, err
}

func (h builds) CreateBuild(context.Context, *gestorv1.CreateBuildRequest) (*gestorv1.CreateBuildResponse, error) {
	return &gestorv1.CreateBuildResponse{Build: h.state.Builds[0]}, nil
}

func (h builds) CancelBuild(ctx context.Context, r *gestorv1.CancelBuildRequest) (*gestorv1.CancelBuildResponse, error) {
	res, err := h.GetBuild(ctx, &gestorv1.GetBuildRequest{Id: r.GetId()})
	return &gestorv1.CancelBuildResponse{Build: res.GetBuild()}, err
}

func (h releases) ListReleases(context.Context, *gestorv1.ListReleasesRequest) (*gestorv1.ListReleasesResponse, error) {
	return &gestorv1.ListReleasesResponse{Releases: h.state.Releases}, nil
}

func (h releases) PinRelease(_ context.Context, r *gestorv1.PinReleaseRequest) (*gestorv1.PinReleaseResponse, error) {
	rel, err := find(h.state.Releases, "release", r.GetRelease(), func(rel *gestorv1.Release) bool { return rel.GetName() == r.GetRelease() })
	return &gestorv1.PinReleaseResponse{Release: rel}, err
}

func (h deployments) ListDeployments(context.Context, *gestorv1.ListDeploymentsRequest) (*gestorv1.ListDeploymentsResponse, error) {
	res := &gestorv1.ListDeploymentsResponse{}
	for _, states := range h.state.Deployments {
		res.Deployments = append(res.Deployments, states[len(states)-1])
	}
	return res, nil
}

func (h deployments) states(id string) ([]*gestorv1.Deployment, error) {
	return find(h.state.Deployments, "deployment", id, func(s []*gestorv1.Deployment) bool { return s[0].GetId() == id })
}

func (h deployments) GetDeployment(_ context.Context, r *gestorv1.GetDeploymentRequest) (*gestorv1.GetDeploymentResponse, error) {
	states, err := h.states(r.GetId())
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetDeploymentResponse{Deployment: states[0]}, nil
}

func (h deployments) CreateDeployment(context.Context, *gestorv1.CreateDeploymentRequest) (*gestorv1.CreateDeploymentResponse, error) {
	return &gestorv1.CreateDeploymentResponse{Deployment: h.state.Deployments[0][0]}, nil
}

func (h deployments) Rollback(context.Context, *gestorv1.RollbackRequest) (*gestorv1.RollbackResponse, error) {
	return &gestorv1.RollbackResponse{Deployment: h.state.Deployments[0][0]}, nil
}

func (h deployments) CancelDeployment(_ context.Context, r *gestorv1.CancelDeploymentRequest) (*gestorv1.CancelDeploymentResponse, error) {
	states, err := h.states(r.GetId())
	if err != nil {
		return nil, err
	}
	close(h.cancelled)
	return &gestorv1.CancelDeploymentResponse{Deployment: states[0]}, nil
}

func (h deployments) WatchDeployment(ctx context.Context, r *gestorv1.WatchDeploymentRequest, out *connect.ServerStream[gestorv1.WatchDeploymentResponse]) error {
	states, err := h.states(r.GetId())
	if err != nil {
		return err
	}
	sent := 0
	for _, d := range states {
		if d.GetRevision() <= r.GetAfterRevision() {
			continue
		}
		if err := out.Send(&gestorv1.WatchDeploymentResponse{Deployment: d, Revision: d.GetRevision()}); err != nil {
			return err
		}
		if sent++; h.cut(ctx, "WatchDeployment", sent) {
			panic(http.ErrAbortHandler)
		}
		if err := h.hold(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// hold waits at the scripted state until the deployment is cancelled.
func (s *Server) hold(ctx context.Context, d *gestorv1.Deployment) error {
	if s.state.Hold == "" || d.GetState().String() != s.state.Hold {
		return nil
	}
	select {
	case <-s.cancelled:
		return nil
	default:
	}
	close(s.held)
	select {
	case <-s.cancelled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h tasks) states(id string) ([]*gestorv1.Task, error) {
	return find(h.state.Tasks, "task", id, func(s []*gestorv1.Task) bool { return s[0].GetId() == id })
}

func (h tasks) ListTasks(context.Context, *gestorv1.ListTasksRequest) (*gestorv1.ListTasksResponse, error) {
	res := &gestorv1.ListTasksResponse{}
	for _, states := range h.state.Tasks {
		res.Tasks = append(res.Tasks, states[len(states)-1])
	}
	return res, nil
}

func (h tasks) last(id string) (*gestorv1.Task, error) {
	states, err := h.states(id)
	if err != nil {
		return nil, err
	}
	return states[len(states)-1], nil
}

func (h tasks) GetTask(_ context.Context, r *gestorv1.GetTaskRequest) (*gestorv1.GetTaskResponse, error) {
	t, err := h.last(r.GetId())
	return &gestorv1.GetTaskResponse{Task: t}, err
}

func (h tasks) CancelTask(_ context.Context, r *gestorv1.CancelTaskRequest) (*gestorv1.CancelTaskResponse, error) {
	t, err := h.last(r.GetId())
	return &gestorv1.CancelTaskResponse{Task: t}, err
}

func (h tasks) RetryTask(_ context.Context, r *gestorv1.RetryTaskRequest) (*gestorv1.RetryTaskResponse, error) {
	t, err := h.last(r.GetId())
	return &gestorv1.RetryTaskResponse{Task: t}, err
}

func (h tasks) WatchTask(ctx context.Context, r *gestorv1.WatchTaskRequest, out *connect.ServerStream[gestorv1.WatchTaskResponse]) error {
	states, err := h.states(r.GetId())
	if err != nil {
		return err
	}
	sent := 0
	for _, t := range states {
		if t.GetRevision() <= r.GetAfterRevision() {
			continue
		}
		if err := out.Send(&gestorv1.WatchTaskResponse{Task: t, Revision: t.GetRevision()}); err != nil {
			return err
		}
		if sent++; h.cut(ctx, "WatchTask", sent) {
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}

// attempt is what the lines of a first attempt are numbered from.
const attempt = 1 << 40

func (h logs) TailTaskLog(ctx context.Context, r *gestorv1.TailTaskLogRequest, out *connect.ServerStream[gestorv1.TailTaskLogResponse]) error {
	lines, ok := h.state.Logs[r.GetTaskId()]
	if !ok {
		return fault.NotFound("task %q has no log", r.GetTaskId())
	}
	first := int(r.GetAfterSeq() &^ attempt)
	if r.GetLast() > 0 {
		first = max(first, len(lines)-int(r.GetLast()))
	}
	for i, text := range lines[first:] {
		line := &gestorv1.LogLine{Seq: attempt | uint64(first+i) + 1, Text: text}
		if err := out.Send(&gestorv1.TailTaskLogResponse{Lines: []*gestorv1.LogLine{line}}); err != nil {
			return err
		}
		if h.cut(ctx, "TailTaskLog", i+1) {
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}

func (h logs) TailAppLog(ctx context.Context, _ *gestorv1.TailAppLogRequest, out *connect.ServerStream[gestorv1.TailAppLogResponse]) error {
	for i, m := range h.state.AppLog {
		if err := out.Send(m); err != nil {
			return err
		}
		if h.cut(ctx, "TailAppLog", i+1) {
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}
