package api_test

import (
	"context"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// A host that joins gets builds of every app, with their variables; so nodes are not for who is kept to some apps.
func TestNarrowed_PeopleChangeNothingBesideWhatTheySee(t *testing.T) {
	n := newNouns(t)
	staging := settings()
	staging.Domains, staging.Environment = []string{"try.example"}, gestorv1.Environment_ENVIRONMENT_STAGING
	if _, err := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "try", Settings: staging}); err != nil {
		t.Fatal(err)
	}
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		u, err := x.User(ctx, "usr_one")
		if err != nil {
			return err
		}
		u.Narrow = gestor.Narrowing{Environments: []string{gestor.EnvironmentStaging}}
		return x.PutUser(ctx, u)
	})
	production := settings()
	production.Domains, production.Environment = []string{"real.example"}, gestorv1.Environment_ENVIRONMENT_PRODUCTION
	for name, try := range map[string]func() error{
		"join a host": func() error {
			_, err := n.one.nodes.CreateJoinToken(t.Context(), &gestorv1.CreateJoinTokenRequest{Name: "mine"})
			return err
		},
		"drain a node": func() error {
			_, err := n.one.nodes.DrainNode(t.Context(), &gestorv1.DrainNodeRequest{Node: "web-1"})
			return err
		},
		"delete a node": func() error {
			_, err := n.one.nodes.DeleteNode(t.Context(), &gestorv1.DeleteNodeRequest{Node: "web-1"})
			return err
		},
		"make an app elsewhere": func() error {
			_, err := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "real", Settings: production})
			return err
		},
		"move an app elsewhere": func() error {
			_, err := n.one.apps.UpdateApp(t.Context(), &gestorv1.UpdateAppRequest{App: "try", Settings: production})
			return err
		},
	} {
		if err := try(); fault.KindOf(err) != fault.KindDenied {
			t.Errorf("%s: got %v", name, err)
		}
	}
	staging.Domains = []string{"again.example"}
	if _, err := n.one.apps.UpdateApp(t.Context(), &gestorv1.UpdateAppRequest{App: "try", Settings: staging}); err != nil {
		t.Error(err)
	}
}
