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

// A provider says who anybody is: a token for one thing would be one for all that its user may, and more.
func TestProvider_IsSetByNoTokenThatMayLessThanWhoSignsInThroughIt(t *testing.T) {
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := NewProviderService(ProviderDeps{Engine: storeEngine{store}})
	caller := auth.Caller{
		Kind: auth.Machine, Tenant: "ten_1", User: gestor.User{ID: "usr_1", Role: gestor.RoleAdmin, Operator: true},
		Token: gestor.Token{Kind: gestor.TokenPersonal, Name: "ci", Permissions: []string{"TENANT_CONFIGURE"}},
	}
	ctx := auth.WithCaller(t.Context(), caller)
	_, created := s.CreateProvider(ctx, &gestorv1.CreateProviderRequest{})
	_, updated := s.UpdateProvider(ctx, &gestorv1.UpdateProviderRequest{Provider: "prv_1"})
	for name, err := range map[string]error{"create": created, "update": updated} {
		if !errors.Is(err, fault.KindDenied) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
