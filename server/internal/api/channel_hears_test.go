package api

import (
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// An operator's channel is the tenant's, but what it carries of the installation, other tenants' names among it, is not.
func TestDeliveries_OfTheInstallationAreForOperatorsAlone(t *testing.T) {
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	x, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.Revision = 1
	installation := gestor.Delivery{
		TenantID: "ten_1", ChannelID: "chn_1", State: gestor.DeliverySent, Event: gestor.Event{Title: "the tenant Rival is suspended"},
	}
	own := installation
	own.Event = gestor.Event{TenantID: "ten_1", Title: "the node web-1 is lost"}
	if err := errors.Join(
		x.RaiseLevel(t.Context(), state.NewestLevel()),
		x.PutChannel(t.Context(), gestor.Channel{ID: "chn_1", TenantID: "ten_1", Name: "ops", Kind: gestor.ChannelEmail, Installation: true}),
		x.AddDelivery(t.Context(), installation), x.AddDelivery(t.Context(), own), x.Commit(t.Context(), 1),
	); err != nil {
		t.Fatal(err)
	}
	s := NewChannelService(ChannelDeps{Engine: storeEngine{store}})
	for operator, want := range map[bool]int{false: 1, true: 2} {
		caller := auth.Caller{Kind: auth.User, Tenant: "ten_1", User: gestor.User{ID: "usr_1", Role: gestor.RoleDevOps, Operator: operator}}
		ctx := auth.WithCaller(t.Context(), caller)
		res, err := s.ListDeliveries(ctx, &gestorv1.ListDeliveriesRequest{Channel: "ops"})
		if err != nil || len(res.GetDeliveries()) != want {
			t.Errorf("operator %v: got %v, %v", operator, res, err)
		}
		_, err = s.RetryDelivery(ctx, &gestorv1.RetryDeliveryRequest{Id: string(gestor.NewDeliveryID(1, 0))})
		if !operator && !errors.Is(err, fault.KindNotFound) {
			t.Errorf("who is no operator sends it again: %v", err)
		}
	}
}
