package api_test

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestGetDeployment_ShowsBuildReleaseNodesAndPhases(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	res, err := n.one.deployments.GetDeployment(t.Context(), &gestorv1.GetDeploymentRequest{Id: string(w.deployment.ID)})
	if err != nil {
		t.Fatal(err)
	}
	d := res.GetDeployment()
	if d.GetState() != gestorv1.DeploymentState_DEPLOYMENT_STATE_SUCCEEDED || d.GetBuild().GetCommit() != "c0ffee" || !d.GetRelease().GetCurrent() || len(d.GetPhases()) != 1 {
		t.Errorf("got %v", d)
	}
	if len(d.GetNodes()) != 1 || d.GetNodes()[0].GetNodeName() != "web-1" || !d.GetNodes()[0].GetSwitched() || d.GetNodes()[0].GetTaskKind() != "switch" {
		t.Errorf("got nodes %v", d.GetNodes())
	}
	list, err := n.one.deployments.ListDeployments(t.Context(), &gestorv1.ListDeploymentsRequest{App: "shop"})
	if err != nil || len(list.GetDeployments()) != 1 || list.GetDeployments()[0].GetId() != d.GetId() {
		t.Errorf("got list %v, %v", list, err)
	}
}

func TestGetApp_ShowsWhereALiveAppIsReached(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	res, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "shop"})
	if err != nil || len(res.GetApp().GetAddresses()) != 1 || res.GetApp().GetAddresses()[0] != "http://shop.example" {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestCreateDeployment_TakesTheLockAndSaysWhoHoldsIt(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	req := &gestorv1.CreateDeploymentRequest{App: "shop", Ref: "v2", RequestId: "r1"}
	res, err := n.one.deployments.CreateDeployment(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	d := res.GetDeployment()
	if d.GetState() != gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING || d.GetBuild().GetRef() != "v2" || d.GetCreatedBy() != "one@example.com" {
		t.Errorf("got %v", d)
	}
	if again, err := n.one.deployments.CreateDeployment(t.Context(), req); err != nil || again.GetDeployment().GetId() != d.GetId() {
		t.Errorf("the same request made %v, %v", again, err)
	}
	_, err = n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop"})
	wantKind(t, err, fault.KindConflict)
	app, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "shop"})
	if err != nil || app.GetApp().GetActiveDeploymentId() != d.GetId() || app.GetApp().GetStatus() != gestorv1.AppStatus_APP_STATUS_DEPLOYING {
		t.Errorf("got %v, %v", app, err)
	}
}

func TestCreateDeployment_RefusesWhatCannotBeDeployed(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	second := n.addWork(t, n.one, "blog")
	_, err := n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop", Ref: "--upload-pack=id"})
	wantKind(t, err, fault.KindInvalid)
	_, err = n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop", Ref: "main", BuildId: string(w.build.ID)})
	wantKind(t, err, fault.KindInvalid)
	_, err = n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop", BuildId: string(second.build.ID)})
	wantKind(t, err, fault.KindNotFound)
}

func TestRollback_GoesToAReleaseByName(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	older := w.release
	older.ID, older.Name, older.CreatedAt = "rel_older", "20261122-100000", w.release.CreatedAt.Add(-24*time.Hour)
	n.put(t, func(ctx context.Context, x *state.Txn) error { return x.PutRelease(ctx, older) })
	res, err := n.one.deployments.Rollback(t.Context(), &gestorv1.RollbackRequest{App: "shop", Release: "20261122-100000"})
	if err != nil || !res.GetDeployment().GetRollback() || res.GetDeployment().GetRelease().GetId() != "rel_older" || res.GetDeployment().GetPreviousReleaseId() != string(w.release.ID) {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestRollback_WithNothingToGoBackToSaysSo(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	_, err := n.one.deployments.Rollback(t.Context(), &gestorv1.RollbackRequest{App: "shop"})
	wantKind(t, err, fault.KindConflict)
}

// receive waits for the next message of a stream.
func receive[T any](t *testing.T, s *connect.ServerStreamForClient[T]) *T {
	t.Helper()
	if !s.Receive() {
		t.Fatalf("the stream ended: %v", s.Err())
	}
	return s.Msg()
}

func TestWatchDeployment_SendsChangesUntilItHasEnded(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	made, err := n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	id := made.GetDeployment().GetId()
	stream, err := n.one.deployments.WatchDeployment(t.Context(), &gestorv1.WatchDeploymentRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := receive(t, stream)
	if first.GetDeployment().GetState() != gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING || first.GetRevision() == 0 {
		t.Fatalf("got %v", first)
	}
	// A change of one of its tasks is a change of what is shown.
	n.do(t, command.LeaseTask{ID: gestor.TaskID(made.GetDeployment().GetBuild().GetTaskId()), Node: "nod_one"})
	if next := receive(t, stream); next.GetRevision() <= first.GetRevision() {
		t.Errorf("revision %d follows %d", next.GetRevision(), first.GetRevision())
	}
	n.do(t, command.AdvanceDeployment{ID: gestor.DeploymentID(id), From: gestor.DeploymentBuilding, To: gestor.DeploymentFailed, Error: "no luck"})
	last := receive(t, stream)
	if last.GetDeployment().GetState() != gestorv1.DeploymentState_DEPLOYMENT_STATE_FAILED || last.GetDeployment().GetError() != "no luck" {
		t.Errorf("got %v", last)
	}
	if stream.Receive() || stream.Err() != nil {
		t.Errorf("the stream goes on: %v, %v", stream.Msg(), stream.Err())
	}
	if err := streamError(n.one.deployments.WatchDeployment(t.Context(), &gestorv1.WatchDeploymentRequest{Id: id, AfterRevision: last.GetRevision()})); err != nil {
		t.Errorf("resuming after the end: %v", err)
	}
}

func TestWatchDeployment_ResumesAfterARevision(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	made, err := n.one.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	d := made.GetDeployment()
	ctx, leave := context.WithCancel(t.Context())
	defer leave() // before Close, which waits for the server's end of a stream
	stream, err := n.one.deployments.WatchDeployment(ctx, &gestorv1.WatchDeploymentRequest{Id: d.GetId(), AfterRevision: d.GetRevision()})
	if err != nil {
		t.Fatal(err)
	}
	n.do(t, command.CancelDeployment{ID: gestor.DeploymentID(d.GetId())})
	if m := receive(t, stream); m.GetRevision() <= d.GetRevision() {
		t.Errorf("revision %d was sent again, the caller has %d", m.GetRevision(), d.GetRevision())
	}
}
