package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

func TestGetNode_ByNameWithFactsAndLoad(t *testing.T) {
	n := newNouns(t)
	res, err := n.one.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "web-1"})
	if err != nil || res.GetNode().GetId() != "nod_one" || res.GetNode().GetFacts().GetArch() != "amd64" || res.GetNode().GetLoad().GetCpu() != 0.5 {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestDrainNode_AndActivateNode_SetWhatTheySay(t *testing.T) {
	n := newNouns(t)
	drained, err := n.one.nodes.DrainNode(t.Context(), &gestorv1.DrainNodeRequest{Node: "web-1"})
	if err != nil || !drained.GetNode().GetDraining() {
		t.Errorf("got %v, %v", drained, err)
	}
	active, err := n.one.nodes.ActivateNode(t.Context(), &gestorv1.ActivateNodeRequest{Node: "web-1"})
	if err != nil || active.GetNode().GetDraining() {
		t.Errorf("got %v, %v", active, err)
	}
}

func TestCreateJoinToken_ShowsTheSecretOnceAndKeepsItsHash(t *testing.T) {
	n := newNouns(t)
	res, err := n.one.nodes.CreateJoinToken(t.Context(), &gestorv1.CreateJoinTokenRequest{Name: "web-2", Labels: map[string]string{"zone": "eu"}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.ParseJoinToken(res.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	if want := "GESTOR_TOKEN=" + res.GetToken() + " gestor-agent join --server " + publicURL; res.GetCommand() != want {
		t.Errorf("got command %q, want %q", res.GetCommand(), want)
	}
	if left := time.Until(res.GetExpiresAt().AsTime()); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token is good for %s, want an hour", left)
	}
	stored, err := n.View(gestor.SystemScope()).JoinToken(t.Context(), token.ID)
	if err != nil || stored.TenantID != n.one.tenant || stored.NodeName != "web-2" || !pki.SameHash(stored.SecretHash, pki.HashSecret(token.Secret)) {
		t.Errorf("stored %v, %v", stored, err)
	}
	if n.inFiles(t, token.Secret) {
		t.Error("the secret is in the state in clear")
	}
}

func TestCreateJoinToken_RefusesBadNamesLabelsAndTimes(t *testing.T) {
	n := newNouns(t)
	for _, req := range []*gestorv1.CreateJoinTokenRequest{
		{Name: "Web 2"},
		{Name: "web-2;id"},
		{Name: ""},
		{Name: "web-2", Labels: map[string]string{"a b": "c"}},
		{Name: "web-2", Labels: map[string]string{"a": "$(id)"}},
		{Name: "web-2", Ttl: durationpb.New(25 * time.Hour)},
		{Name: "web-2", Ttl: durationpb.New(-time.Second)},
	} {
		_, err := n.one.nodes.CreateJoinToken(t.Context(), req)
		wantKind(t, err, fault.KindInvalid)
	}
}

func TestWatchNodes_SendsAllThenChangesThenWhatIsGone(t *testing.T) {
	n := newNouns(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream, err := n.one.nodes.WatchNodes(ctx, &gestorv1.WatchNodesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first := receive(t, stream)
	if len(first.GetNodes()) != 1 || first.GetNodes()[0].GetName() != "web-1" {
		t.Fatalf("got %v", first)
	}
	n.do(t, command.SetNodeDraining{ID: "nod_other", Draining: true}) // another tenant's: not for this watcher
	n.do(t, command.SetNodeDraining{ID: "nod_one", Draining: true})
	second := receive(t, stream)
	if len(second.GetNodes()) != 1 || !second.GetNodes()[0].GetDraining() || second.GetRevision() <= first.GetRevision() {
		t.Errorf("got %v", second)
	}
	n.do(t, command.DeleteNode{ID: "nod_one"})
	if third := receive(t, stream); len(third.GetNodes()) != 0 || strings.Join(third.GetDeletedIds(), " ") != "nod_one" {
		t.Errorf("got %v", third)
	}
}
