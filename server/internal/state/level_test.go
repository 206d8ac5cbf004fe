package state

import (
	"context"
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// In a cluster that is being upgraded servers of the next level read a state of the first for as long as that lasts.
func TestView_OfAStateOfTheFirstLevelFindsNothingOfTheNext(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	v, page := s.View(gestor.SystemScope()), gestor.Page{}
	three := func(n int, _ string, err error) (int, error) { return n, err }
	for name, read := range map[string]func(ctx context.Context) (int, error){
		"tokens": func(ctx context.Context) (int, error) {
			all, next, err := v.Tokens(ctx, page)
			return three(len(all), next, err)
		},
		"service tokens": func(ctx context.Context) (int, error) { all, err := v.ServiceTokens(ctx); return len(all), err },
		"token by hash":  func(ctx context.Context) (int, error) { _, err := v.TokenByHash(ctx, []byte("x")); return 0, err },
		"invitations": func(ctx context.Context) (int, error) {
			all, next, err := v.Invitations(ctx, page)
			return three(len(all), next, err)
		},
		"invitation": func(ctx context.Context) (int, error) {
			_, err := v.InvitationBySecret(ctx, []byte("x"))
			return 0, err
		},
		"factors": func(ctx context.Context) (int, error) {
			all, err := v.FactorsByUser(ctx, "usr_1")
			return len(all), err
		},
		"passkey": func(ctx context.Context) (int, error) {
			_, err := v.FactorByCredential(ctx, []byte("x"))
			return 0, err
		},
		"recovery codes": func(ctx context.Context) (int, error) {
			all, err := v.RecoveryCodes(ctx, "usr_1")
			return len(all), err
		},
		"keys":     func(ctx context.Context) (int, error) { all, err := v.SealingKeys(ctx); return len(all), err },
		"key":      func(ctx context.Context) (int, error) { _, err := v.SealingKey(ctx, "0000000a"); return 0, err },
		"versions": func(ctx context.Context) (int, error) { all, err := v.EnvVersions(ctx, "app_1"); return len(all), err },
		"version":  func(ctx context.Context) (int, error) { _, err := v.EnvVersion(ctx, "app_1", 1); return 0, err },
		"years":    func(ctx context.Context) (int, error) { all, err := v.AuditYears(ctx); return len(all), err },
		"events": func(ctx context.Context) (int, error) {
			all, next, err := v.Events(ctx, EventFilter{}, page)
			return three(len(all), next, err)
		},
		"changed events": func(ctx context.Context) (int, error) {
			all, err := v.EventsChangedSince(ctx, 0, EventFilter{}, 10)
			return len(all), err
		},
		"reads": func(ctx context.Context) (int, error) { _, err := v.EventReads(ctx, "usr_1"); return 0, err },
		"unread events": func(ctx context.Context) (int, error) {
			all, err := v.UnreadEvents(ctx, gestor.EventReads{})
			return len(all), err
		},
		"channels": func(ctx context.Context) (int, error) { all, err := v.Channels(ctx); return len(all), err },
		"channel":  func(ctx context.Context) (int, error) { _, err := v.ChannelByName(ctx, "x"); return 0, err },
		"deliveries": func(ctx context.Context) (int, error) {
			all, next, err := v.Deliveries(ctx, "", "", page)
			return three(len(all), next, err)
		},
		"due deliveries": func(ctx context.Context) (int, error) { all, err := v.DueDeliveries(ctx, 4); return len(all), err },
		"counted": func(ctx context.Context) (int, error) {
			all, err := v.DeliveryCounts(ctx, "queued")
			return len(all), err
		},
		"protection": func(ctx context.Context) (int, error) {
			_, err := v.Protection(ctx, "ten_1", "production")
			return 0, err
		},
		"approvals": func(ctx context.Context) (int, error) { all, err := v.Approvals(ctx, "dep_1"); return len(all), err },
		"providers": func(ctx context.Context) (int, error) { all, err := v.Providers(ctx); return len(all), err },
		"provider": func(ctx context.Context) (int, error) {
			_, err := v.ProviderByDomain(ctx, "example.com")
			return 0, err
		},
		"identities": func(ctx context.Context) (int, error) {
			all, next, err := v.Identities(ctx, "", page)
			return three(len(all), next, err)
		},
		"linked people": func(ctx context.Context) (int, error) { all, err := v.IdentityCounts(ctx); return len(all), err },
		"audit by outcome": func(ctx context.Context) (int, error) {
			all, next, err := v.SearchAudit(ctx, AuditFilter{Outcome: gestor.OutcomeRefused, Year: 2026, Severity: gestor.AuditWarning}, page)
			return three(len(all), next, err)
		},
		"tenants that go": func(ctx context.Context) (int, error) { all, err := v.TenantsInTrash(ctx); return len(all), err },
		"operators":       func(ctx context.Context) (int, error) { all, err := v.Operators(ctx); return len(all), err },
		"the last of kinds": func(ctx context.Context) (int, error) {
			_, _, err := v.LastEvent(ctx, "srv_1", "a", "b")
			return 0, err
		},
	} {
		n, err := read(t.Context())
		if n != 0 || err != nil && !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s: got %d, %v", name, n, err)
		}
	}
}
