package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// theirs are calls of every method that names a thing, each with the things of other. The words of the refusal must be
// those for a thing that never was, so that nobody learns what others have.
func theirs(m member, other names) map[string]func(ctx context.Context) error {
	second := func(_ any, err error) error { return err }
	return map[string]func(ctx context.Context) error{
		"GetApp by id": func(ctx context.Context) error {
			return second(m.apps.GetApp(ctx, &gestorv1.GetAppRequest{App: other.app}))
		},
		"GetApp by slug": func(ctx context.Context) error {
			return second(m.apps.GetApp(ctx, &gestorv1.GetAppRequest{App: other.slug}))
		},
		"UpdateApp": func(ctx context.Context) error {
			return second(m.apps.UpdateApp(ctx, &gestorv1.UpdateAppRequest{App: other.app, Settings: settings()}))
		},
		"DeleteApp": func(ctx context.Context) error {
			return second(m.apps.DeleteApp(ctx, &gestorv1.DeleteAppRequest{App: other.app}))
		},
		"ListEnv": func(ctx context.Context) error {
			return second(m.apps.ListEnv(ctx, &gestorv1.ListEnvRequest{App: other.slug}))
		},
		"UpdateEnv": func(ctx context.Context) error {
			return second(m.apps.UpdateEnv(ctx, &gestorv1.UpdateEnvRequest{App: other.app, Set: map[string]string{"A": "1"}}))
		},
		"ListEnvVersions": func(ctx context.Context) error {
			return second(m.apps.ListEnvVersions(ctx, &gestorv1.ListEnvVersionsRequest{App: other.app}))
		},
		"DiffEnv": func(ctx context.Context) error {
			return second(m.apps.DiffEnv(ctx, &gestorv1.DiffEnvRequest{App: other.slug, From: 1}))
		},
		"RollbackEnv": func(ctx context.Context) error {
			return second(m.apps.RollbackEnv(ctx, &gestorv1.RollbackEnvRequest{App: other.app, Version: 1}))
		},
		"RevealEnv": func(ctx context.Context) error {
			return second(m.apps.RevealEnv(ctx, &gestorv1.RevealEnvRequest{App: other.app}))
		},
		"ExportEnv": func(ctx context.Context) error {
			return second(m.apps.ExportEnv(ctx, &gestorv1.ExportEnvRequest{App: other.app, Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}}))
		},
		"ListBuilds": func(ctx context.Context) error {
			return second(m.builds.ListBuilds(ctx, &gestorv1.ListBuildsRequest{App: other.app}))
		},
		"GetBuild": func(ctx context.Context) error {
			return second(m.builds.GetBuild(ctx, &gestorv1.GetBuildRequest{Id: other.build}))
		},
		"GetBuild by number": func(ctx context.Context) error {
			return second(m.builds.GetBuild(ctx, &gestorv1.GetBuildRequest{App: other.slug, Number: 1}))
		},
		"CreateBuild": func(ctx context.Context) error {
			return second(m.builds.CreateBuild(ctx, &gestorv1.CreateBuildRequest{App: other.app}))
		},
		"CancelBuild": func(ctx context.Context) error {
			return second(m.builds.CancelBuild(ctx, &gestorv1.CancelBuildRequest{Id: other.build}))
		},
		"ListReleases": func(ctx context.Context) error {
			return second(m.releases.ListReleases(ctx, &gestorv1.ListReleasesRequest{App: other.app}))
		},
		"PinRelease": func(ctx context.Context) error {
			return second(m.releases.PinRelease(ctx, &gestorv1.PinReleaseRequest{App: other.app, Release: other.release, Pinned: true}))
		},
		"PinRelease under an own app": func(ctx context.Context) error {
			return second(m.releases.PinRelease(ctx, &gestorv1.PinReleaseRequest{App: "mine", Release: other.release, Pinned: true}))
		},
		"ListDeployments": func(ctx context.Context) error {
			return second(m.deployments.ListDeployments(ctx, &gestorv1.ListDeploymentsRequest{App: other.app}))
		},
		"GetDeployment": func(ctx context.Context) error {
			return second(m.deployments.GetDeployment(ctx, &gestorv1.GetDeploymentRequest{Id: other.deployment}))
		},
		"CreateDeployment": func(ctx context.Context) error {
			return second(m.deployments.CreateDeployment(ctx, &gestorv1.CreateDeploymentRequest{App: other.app}))
		},
		"CreateDeployment of their build": func(ctx context.Context) error {
			return second(m.deployments.CreateDeployment(ctx, &gestorv1.CreateDeploymentRequest{App: "mine", BuildId: other.build}))
		},
		"Rollback": func(ctx context.Context) error {
			return second(m.deployments.Rollback(ctx, &gestorv1.RollbackRequest{App: other.app}))
		},
		"Rollback to their release": func(ctx context.Context) error {
			return second(m.deployments.Rollback(ctx, &gestorv1.RollbackRequest{App: "mine", Release: other.release}))
		},
		"CancelDeployment": func(ctx context.Context) error {
			return second(m.deployments.CancelDeployment(ctx, &gestorv1.CancelDeploymentRequest{Id: other.deployment}))
		},
		"ApproveDeployment": func(ctx context.Context) error {
			return second(m.deployments.ApproveDeployment(ctx, &gestorv1.ApproveDeploymentRequest{Id: other.deployment}))
		},
		"RejectDeployment": func(ctx context.Context) error {
			return second(m.deployments.RejectDeployment(ctx, &gestorv1.RejectDeploymentRequest{Id: other.deployment, Comment: "no"}))
		},
		"WatchDeployment": func(ctx context.Context) error {
			return streamError(m.deployments.WatchDeployment(ctx, &gestorv1.WatchDeploymentRequest{Id: other.deployment}))
		},
		"ListTasks of their app": func(ctx context.Context) error {
			return second(m.tasks.ListTasks(ctx, &gestorv1.ListTasksRequest{App: other.app}))
		},
		"ListTasks of their node": func(ctx context.Context) error {
			return second(m.tasks.ListTasks(ctx, &gestorv1.ListTasksRequest{Node: other.node}))
		},
		"GetTask": func(ctx context.Context) error {
			return second(m.tasks.GetTask(ctx, &gestorv1.GetTaskRequest{Id: other.task}))
		},
		"CancelTask": func(ctx context.Context) error {
			return second(m.tasks.CancelTask(ctx, &gestorv1.CancelTaskRequest{Id: other.task}))
		},
		"RetryTask": func(ctx context.Context) error {
			return second(m.tasks.RetryTask(ctx, &gestorv1.RetryTaskRequest{Id: other.task}))
		},
		"WatchTask": func(ctx context.Context) error {
			return streamError(m.tasks.WatchTask(ctx, &gestorv1.WatchTaskRequest{Id: other.task}))
		},
		"GetNode": func(ctx context.Context) error {
			return second(m.nodes.GetNode(ctx, &gestorv1.GetNodeRequest{Node: other.node}))
		},
		"DrainNode": func(ctx context.Context) error {
			return second(m.nodes.DrainNode(ctx, &gestorv1.DrainNodeRequest{Node: other.node}))
		},
		"ActivateNode": func(ctx context.Context) error {
			return second(m.nodes.ActivateNode(ctx, &gestorv1.ActivateNodeRequest{Node: other.node}))
		},
		"DeleteNode": func(ctx context.Context) error {
			return second(m.nodes.DeleteNode(ctx, &gestorv1.DeleteNodeRequest{Node: other.node}))
		},
		"TailTaskLog": func(ctx context.Context) error {
			return streamError(m.logs.TailTaskLog(ctx, &gestorv1.TailTaskLogRequest{TaskId: other.task}))
		},
		"TailAppLog": func(ctx context.Context) error {
			return streamError(m.logs.TailAppLog(ctx, &gestorv1.TailAppLogRequest{App: other.slug}))
		},
		"TailAppLog on their node": func(ctx context.Context) error {
			return streamError(m.logs.TailAppLog(ctx, &gestorv1.TailAppLogRequest{App: "mine", Node: other.node}))
		},
	}
}

// names are the ids of one tenant's things.
type names struct{ app, slug, build, release, deployment, task, node string }

// never are ids of the same shape that nobody has.
func never() names {
	return names{app: "app_never", slug: "never", build: "bld_never", release: "rel_never", deployment: "dep_never", task: "tsk_never", node: "nod_never"}
}

// streamError reads a stream to its end.
func streamError[S interface {
	Receive() bool
	Err() error
	Close() error
}](s S, err error) error {
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Receive() {
	}
	return s.Err()
}

func TestEveryCall_OfAnotherTenantsThingsIsLikeOfThingsThatNeverWere(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.other, "theirs")
	n.addWork(t, n.one, "mine")
	there := names{
		app: w.app.GetId(), slug: "theirs", build: string(w.build.ID), release: string(w.release.ID), deployment: string(w.deployment.ID),
		task: string(w.task.ID), node: "nod_other",
	}
	nowhere := theirs(n.one, never())
	before := n.applied.Load()
	for name, call := range theirs(n.one, there) {
		t.Run(name, func(t *testing.T) {
			got, want := call(t.Context()), nowhere[name](t.Context())
			wantKind(t, got, fault.KindNotFound)
			wantKind(t, want, fault.KindNotFound)
			if a, b := masked(got, there), masked(want, never()); a != b {
				t.Errorf("the refusals differ: %q, and for what never was %q", a, b)
			}
		})
	}
	if n.applied.Load() != before {
		t.Error("a refused call was proposed")
	}
}

// masked is the text of a refusal without the names the caller sent.
func masked(err error, sent names) string {
	text := err.Error()
	for _, v := range []string{sent.app, sent.slug, sent.build, sent.release, sent.deployment, sent.task, sent.node} {
		text = strings.ReplaceAll(text, `"`+v+`"`, "…")
	}
	return text
}

func TestEveryList_HoldsTheCallersOwnThingsOnly(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.other, "theirs")
	n.addWork(t, n.one, "mine")
	apps, err := n.one.apps.ListApps(t.Context(), &gestorv1.ListAppsRequest{})
	if err != nil || len(apps.GetApps()) != 1 || apps.GetApps()[0].GetSlug() != "mine" {
		t.Errorf("apps: %v, %v", apps, err)
	}
	nodes, err := n.one.nodes.ListNodes(t.Context(), &gestorv1.ListNodesRequest{})
	if err != nil || len(nodes.GetNodes()) != 1 || nodes.GetNodes()[0].GetId() != "nod_one" {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	tasks, err := n.one.tasks.ListTasks(t.Context(), &gestorv1.ListTasksRequest{})
	if err != nil || len(tasks.GetTasks()) != 2 || strings.Contains(tasks.String(), "theirs") {
		t.Errorf("tasks: %v, %v", tasks, err)
	}
}

func TestAppSettings_CannotNameAnotherTenantsNode(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "mine")
	refused := func(node string) []string {
		set := settings()
		set.Nodes = []string{node}
		_, create := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "fresh", Settings: set})
		_, update := n.one.apps.UpdateApp(t.Context(), &gestorv1.UpdateAppRequest{App: "mine", Settings: set})
		var out []string
		for _, err := range []error{create, update} {
			if err == nil {
				t.Fatalf("an app was put on node %s", node)
			}
			out = append(out, strings.ReplaceAll(err.Error(), node, "…"))
		}
		return out
	}
	if theirs, nobodys := refused("nod_other"), refused("nod_never"); !slices.Equal(theirs, nobodys) {
		t.Errorf("the refusals differ: %q, and for what never was %q", theirs, nobodys)
	}
}
