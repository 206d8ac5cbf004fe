package deploy_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// by proposes what a person does.
func (s *system) by(user string, op command.Op) {
	s.t.Helper()
	actor := gestor.Actor{Kind: "user", ID: user, Name: user + "@example.com", TenantID: nodestest.Tenant}
	r, err := s.Propose(s.t.Context(), command.Command{At: time.Now(), Actor: actor, Op: op})
	if err == nil {
		err = s.Wait(s.t.Context(), r.Revision)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// join makes a person of a role.
func (s *system) join(user string, role gestor.Role) {
	s.t.Helper()
	secret := sha256.Sum256([]byte(user))
	s.by("usr_1", command.CreateInvitation{Invitation: gestor.Invitation{
		ID: gestor.InvitationID("inv_" + user), TenantID: nodestest.Tenant, Email: user + "@example.com", Role: role, SecretHash: secret[:],
		ExpiresAt: time.Now().Add(time.Hour),
	}})
	s.by("usr_1", command.AcceptInvitation{SecretHash: secret[:], UserID: gestor.UserID(user), Name: user, PasswordHash: "x"})
}

// waits returns once a deployment has a reason to wait that holds a text.
func (s *system) waits(id gestor.DeploymentID, why string) {
	s.t.Helper()
	s.Await(s.t, "it to say "+why, func(v *state.View) bool {
		d, err := v.Deployment(context.Background(), id)
		return err == nil && d.State == gestor.DeploymentPreparing && strings.Contains(d.Waiting, why)
	})
}

func TestDeployment_WaitsForPeopleAndGoesOnOnceTheyApprove(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.join("usr_2", gestor.RoleDevOps)
	s.by("usr_1", command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: true, Approvals: 2}})
	d := s.create(app)
	s.waits(d.ID, "2 more people (asked by ana@example.com")
	s.by("usr_2", command.ApproveDeployment{ID: d.ID})
	s.waits(d.ID, "one more person")
	if got := strings.Join(a.Begun(), " "); got != "build prepare" {
		t.Errorf("the node began %s before it was approved", got)
	}
	s.by("usr_1", command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: true, Approvals: 1}})
	done := s.await(d.ID, gestor.DeploymentSucceeded)
	if done.Waiting != "" {
		t.Errorf("it has succeeded and waits: %q", done.Waiting)
	}
	next := s.create(app)
	s.waits(next.ID, "one more person")
	s.by("usr_2", command.RejectDeployment{ID: next.ID, Comment: "no"})
	if got := s.await(next.ID, gestor.DeploymentCancelled); !strings.Contains(got.Error, "rejected by usr_2@example.com: no") {
		t.Errorf("it ended with %q", got.Error)
	}
}

func TestDeployment_WaitsOutAFreezeByTheLeadersClock(t *testing.T) {
	s := newSystem(t)
	var now atomic.Pointer[time.Time]
	set := func(text string) {
		at, err := time.Parse("2006-01-02 15:04:05", text)
		if err != nil {
			t.Fatal(err)
		}
		now.Store(&at)
	}
	set("2026-11-28 12:00:00")
	s.deploy = deploy.New(deploy.Options{Engine: s.Engine, Now: func() time.Time { return *now.Load() }})
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.by("usr_1", command.UpdateProtection{Protection: gestor.Protection{Environment: "production", Freezes: []gestor.Freeze{
		{Name: "Black Friday", TimeZone: "UTC", From: "2026-11-27", To: "2026-11-30 08:00"},
	}}})
	d := s.create(app)
	s.waits(d.ID, "production is frozen until Mon 08:00 (UTC): Black Friday")
	set("2026-11-30 07:59:59")
	// The clock was set: what happens next makes the loop look at it, and at the end of the freeze that is a second away.
	s.by("usr_1", command.UpdateProtection{Protection: gestor.Protection{Environment: "staging", RequireApproval: true}})
	s.waits(d.ID, "frozen")
	set("2026-11-30 08:00:00")
	s.await(d.ID, gestor.DeploymentSucceeded)
	set("2026-11-28 12:00:00")
	frozen := s.create(app)
	s.waits(frozen.ID, "frozen")
	s.by("usr_1", command.OverrideFreeze{ID: frozen.ID, Reason: "the shop is down"})
	s.await(frozen.ID, gestor.DeploymentSucceeded)
}
