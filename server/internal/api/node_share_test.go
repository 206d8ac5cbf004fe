package api_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// shared is operated with the node nod_shared ("host-9") of tenant one, which is shared.
func shared(t *testing.T) *nouns {
	t.Helper()
	n := operated(t)
	n.addNode(t, "ten_one", "nod_shared", "host-9", "10.0.0.9")
	n.loads["nod_shared"] = &gestorv1.NodeLoad{Cpu: 0.25, Tasks: 5}
	if _, err := n.other.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "host-9"}); fault.KindOf(err) != fault.KindNotFound {
		t.Fatalf("a dedicated node of another tenant: %v", err)
	}
	if _, err := n.one.nodes.ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "host-9"}); err != nil {
		t.Fatal(err)
	}
	return n
}

func onHost9() *gestorv1.AppSettings {
	s := settings()
	s.Domains, s.Nodes = []string{"theirs.example"}, []string{"host-9"}
	return s
}

func TestSharedNode_IsSeenAndUsedByOthersWithoutWhatItsOwnerDoes(t *testing.T) {
	n := shared(t)
	seen, err := n.other.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "host-9"})
	node := seen.GetNode()
	if err != nil || !node.GetShared() || node.GetOwn() || node.GetFacts().GetArch() != "amd64" || node.GetLoad().GetCpu() != 0.25 || node.GetLoad().GetTasks() != 0 {
		t.Errorf("got %v, %v", node, err)
	}
	mine, err := n.one.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "host-9"})
	if err != nil || !mine.GetNode().GetOwn() || mine.GetNode().GetLoad().GetTasks() != 5 {
		t.Errorf("its owner gets %v, %v", mine, err)
	}
	res, err := n.other.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "theirs", Settings: onHost9()})
	if err != nil || len(res.GetApp().GetSettings().GetNodes()) != 1 || res.GetApp().GetSettings().GetNodes()[0] != "host-9" {
		t.Errorf("got %v, %v", res, err)
	}
	// Nobody sees what the other does there.
	for _, m := range []member{n.one, n.other} {
		tasks, err := m.tasks.ListTasks(t.Context(), &gestorv1.ListTasksRequest{Node: "host-9"})
		if err != nil || len(tasks.GetTasks()) != 0 {
			t.Errorf("got %v, %v", tasks, err)
		}
	}
	if _, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "theirs"}); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("the owner of the node sees another tenant's app: %v", err)
	}
}

func TestSharedNode_IsManagedByItsOwnerAndOperatorsAlone(t *testing.T) {
	n := shared(t)
	_, drain := n.other.nodes.DrainNode(t.Context(), &gestorv1.DrainNodeRequest{Node: "host-9"})
	_, activate := n.other.nodes.ActivateNode(t.Context(), &gestorv1.ActivateNodeRequest{Node: "nod_shared"})
	for _, err := range []error{drain, activate} {
		wantKind(t, err, fault.KindDenied)
	}
	// A shared node of another tenant is the operator's to drain, a dedicated one is as if it were not there.
	if _, err := n.one.nodes.ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "web-1", Tenant: "other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.one.nodes.DrainNode(t.Context(), &gestorv1.DrainNodeRequest{Node: "nod_other"}); err != nil {
		t.Errorf("an operator drains a shared node: %v", err)
	}
	if _, err := n.one.nodes.DedicateNode(t.Context(), &gestorv1.DedicateNodeRequest{Node: "web-1", Tenant: "other"}); err != nil {
		t.Fatal(err)
	}
	_, err := n.one.nodes.ActivateNode(t.Context(), &gestorv1.ActivateNodeRequest{Node: "nod_other"})
	wantKind(t, err, fault.KindNotFound)
}

func TestNodeName_OfAnOwnAndASharedNodeMeansTheOwn(t *testing.T) {
	n := operated(t)
	if _, err := n.one.nodes.ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "web-1"}); err != nil {
		t.Fatal(err)
	}
	got, err := n.other.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "web-1"})
	if err != nil || got.GetNode().GetId() != "nod_other" {
		t.Errorf("got %v, %v", got, err)
	}
	byID, err := n.other.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "nod_one"})
	if err != nil || !byID.GetNode().GetShared() {
		t.Errorf("got %v, %v", byID, err)
	}
}

func TestAppSettings_ThatAreReadAndWrittenBackMeanTheSameNodes(t *testing.T) {
	n := operated(t)
	if _, err := n.one.nodes.ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "web-1"}); err != nil {
		t.Fatal(err)
	}
	set := onHost9()
	set.Nodes = []string{"nod_one"} // the shared one; other has a web-1 too
	if _, err := n.other.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "theirs", Settings: set}); err != nil {
		t.Fatal(err)
	}
	read, err := n.other.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "theirs"})
	if err != nil {
		t.Fatal(err)
	}
	written, err := n.other.apps.UpdateApp(t.Context(), &gestorv1.UpdateAppRequest{App: "theirs", Settings: read.GetApp().GetSettings()})
	if err != nil || len(written.GetApp().GetSettings().GetNodes()) != 1 {
		t.Fatalf("got %v, %v", written, err)
	}
	app, err := n.View(gestor.SystemScope()).AppBySlug(t.Context(), "theirs")
	if err != nil || app.Settings.Nodes[0] != "nod_one" {
		t.Errorf("the app has moved to %v, %v", app.Settings.Nodes, err)
	}
}

func TestDedicateNode_IsRefusedWhileOthersAreThereAndMovesItWhenTheyHaveLeft(t *testing.T) {
	n := shared(t)
	if _, err := n.other.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "theirs", Settings: onHost9()}); err != nil {
		t.Fatal(err)
	}
	_, err := n.one.nodes.DedicateNode(t.Context(), &gestorv1.DedicateNodeRequest{Node: "host-9"})
	wantKind(t, err, fault.KindConflict)
	if strings.Contains(err.Error(), "theirs") {
		t.Errorf("the refusal names another tenant's app: %v", err)
	}
	moved, err := n.one.nodes.DedicateNode(t.Context(), &gestorv1.DedicateNodeRequest{Node: "host-9", To: "other"})
	if err != nil || moved.GetNode().GetOwn() || moved.GetNode().GetShared() {
		t.Errorf("got %v, %v", moved, err)
	}
	stored, err := n.View(gestor.SystemScope()).Node(t.Context(), "nod_shared")
	if err != nil || stored.TenantID != "ten_other" {
		t.Errorf("got %+v, %v", stored, err)
	}
	if _, err := n.one.nodes.GetNode(t.Context(), &gestorv1.GetNodeRequest{Node: "nod_shared"}); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("the old owner still sees it: %v", err)
	}
}
