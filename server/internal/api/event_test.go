package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// newsroom is the services of events and channels over a real state, without the gate before them.
type newsroom struct {
	*machine
	events   *api.EventService
	channels *api.ChannelService
	ring     *secret.Ring
	failing  error // what a test of a channel comes to
}

// Test stands for the sender.
func (n *newsroom) Test(context.Context, gestor.Channel) error { return n.failing }

func newNewsroom(t *testing.T) *newsroom {
	t.Helper()
	n := &newsroom{machine: newMachine(t)}
	var err error
	if n.ring, err = secret.Create(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	n.events = api.NewEventService(api.EventDeps{Engine: n})
	n.channels = api.NewChannelService(api.ChannelDeps{Engine: n, Sealer: n.ring, Tester: n, Mail: func() bool { return true }})
	n.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}, Level: 2})
	n.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_1", TenantName: "One", UserID: "usr_1", Email: "a@example.com"})
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		app := gestor.App{ID: "app_1", TenantID: "ten_1", Slug: "shop", UID: 70001, Status: gestor.AppInactive}
		return errors.Join(
			x.PutTenant(ctx, gestor.Tenant{ID: "ten_2", Name: "Two", Status: gestor.StatusActive}),
			x.PutUser(ctx, gestor.User{ID: "usr_2", TenantID: "ten_2", Email: "b@example.com", Role: gestor.RoleAdmin, Status: gestor.StatusActive}),
			x.PutUser(ctx, gestor.User{ID: "usr_3", TenantID: "ten_1", Email: "c@example.com", Role: gestor.RoleAdmin, Status: gestor.StatusActive}),
			x.PutApp(ctx, app),
		)
	})
	return n
}

func as(t *testing.T, tenant gestor.TenantID, u gestor.User) context.Context {
	t.Helper()
	return auth.WithCaller(t.Context(), caller(tenant, u))
}

func caller(tenant gestor.TenantID, u gestor.User) auth.Caller {
	u.TenantID, u.Role = tenant, gestor.RoleAdmin
	return auth.Caller{
		Kind: auth.User, Tenant: tenant, User: u, Actor: gestor.Actor{Kind: "user", ID: string(u.ID), TenantID: tenant, Action: "test"},
	}
}

func (n *newsroom) happen(t *testing.T, tenant gestor.TenantID, kind string, app gestor.AppID) {
	t.Helper()
	n.do(t, command.RecordEvent{Event: gestor.Event{TenantID: tenant, Severity: gestor.SeverityError, Kind: kind, Title: kind, AppID: app}})
}

func (n *newsroom) kinds(ctx context.Context, t *testing.T, f *gestorv1.EventFilter) string {
	t.Helper()
	res, err := n.events.ListEvents(ctx, &gestorv1.ListEventsRequest{Filter: f})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range res.GetEvents() {
		kinds = append(kinds, e.GetKind())
	}
	return strings.Join(kinds, " ")
}

func TestListEvents_ShowsWhatTheCallerMaySee(t *testing.T) {
	n := newNewsroom(t)
	n.happen(t, "ten_1", "app.one", "app_1")
	n.happen(t, "ten_1", "tenant.one", "")
	n.happen(t, "ten_2", "tenant.two", "")
	n.happen(t, "", "server.gone", "")
	for name, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"a member":    {as(t, "ten_1", gestor.User{ID: "usr_3"}), "tenant.one app.one"},
		"an operator": {as(t, "ten_1", gestor.User{ID: "usr_1", Operator: true}), "server.gone tenant.one app.one"},
		"one of some apps": {
			as(t, "ten_1", gestor.User{ID: "usr_3", Narrow: gestor.Narrowing{Apps: []gestor.AppID{"app_1"}}}), "app.one",
		},
		"one of other apps": {as(t, "ten_1", gestor.User{ID: "usr_3", Narrow: gestor.Narrowing{Apps: []gestor.AppID{"app_9"}}}), ""},
		"another tenant":    {as(t, "ten_2", gestor.User{ID: "usr_2"}), "tenant.two"},
	} {
		if got := n.kinds(c.ctx, t, nil); got != c.want {
			t.Errorf("%s sees %q, want %q", name, got, c.want)
		}
	}
	member := as(t, "ten_1", gestor.User{ID: "usr_3"})
	for want, f := range map[string]*gestorv1.EventFilter{
		"app.one": {App: "shop"}, "tenant.one": {Kind: "tenant"}, "": {Severity: gestorv1.EventSeverity_EVENT_SEVERITY_CRITICAL},
	} {
		if got := n.kinds(member, t, f); got != want {
			t.Errorf("%v shows %q, want %q", f, got, want)
		}
	}
	if _, err := n.events.ListEvents(member, &gestorv1.ListEventsRequest{Filter: &gestorv1.EventFilter{Kind: "x%"}}); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestMarkRead_CountsForTheReaderAlone(t *testing.T) {
	n := newNewsroom(t)
	n.happen(t, "ten_1", "a.a", "")
	n.happen(t, "ten_1", "b.b", "")
	n.happen(t, "ten_2", "c.c", "")
	reader, other, foreign := as(t, "ten_1", gestor.User{ID: "usr_3"}), as(t, "ten_1", gestor.User{ID: "usr_1"}), as(t, "ten_2", gestor.User{ID: "usr_2"})
	listed, err := n.events.ListEvents(reader, &gestorv1.ListEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	newest := listed.GetEvents()[0].GetId()
	res, err := n.events.MarkRead(reader, &gestorv1.MarkReadRequest{Ids: []string{newest}})
	if err != nil || res.GetUnread().GetError() != 1 || n.kinds(reader, t, &gestorv1.EventFilter{Unread: true}) != "a.a" {
		t.Errorf("got %v, %v", res, err)
	}
	if res, err := n.events.GetUnread(other, &gestorv1.GetUnreadRequest{}); err != nil || res.GetUnread().GetError() != 2 {
		t.Errorf("for another: %v, %v", res, err)
	}
	for name, req := range map[string]*gestorv1.MarkReadRequest{"ids": {Ids: []string{newest}}, "up to": {UpTo: newest}, "nonsense": {UpTo: "zzz"}} {
		if _, err := n.events.MarkRead(foreign, req); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s of another tenant: got %v", name, err)
		}
	}
	if res, err := n.events.MarkRead(reader, &gestorv1.MarkReadRequest{UpTo: newest}); err != nil || res.GetUnread().GetError() != 0 {
		t.Errorf("got %v, %v", res, err)
	}
	service := auth.WithCaller(t.Context(), auth.Caller{Kind: auth.Machine, Tenant: "ten_1", Token: gestor.Token{Kind: gestor.TokenService, Role: gestor.RoleAdmin}})
	if _, err := n.events.MarkRead(service, &gestorv1.MarkReadRequest{UpTo: newest}); !errors.Is(err, fault.KindDenied) {
		t.Errorf("a token of nobody: got %v", err)
	}
}

func TestWatchEvents_SendsWhatIsThereThenWhatComesAndWhatWasRead(t *testing.T) {
	n := newNewsroom(t)
	n.happen(t, "ten_1", "a.a", "")
	n.happen(t, "ten_1", "b.b", "")
	_, handler := gestorv1connect.NewEventServiceHandler(n.events)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(auth.WithCaller(r.Context(), caller("ten_1", gestor.User{ID: "usr_3"}))))
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := gestorv1connect.NewEventServiceClient(server.Client(), server.URL)
	next := watching(ctx, t, client, 0)
	first := next()
	if got := titles(first); got != "a.a b.b" || first.GetUnread().GetError() != 2 || first.GetRevision() == 0 {
		t.Fatalf("got %v", first)
	}
	n.happen(t, "ten_2", "x.x", "")
	n.happen(t, "ten_1", "c.c", "")
	third := next()
	for titles(third) == "" {
		third = next()
	}
	if titles(third) != "c.c" || third.GetUnread().GetError() != 3 {
		t.Fatalf("got %v", third)
	}
	id := first.GetEvents()[1].GetId()
	n.do(t, command.MarkEventsRead{UserID: "usr_3", IDs: []gestor.EventID{gestor.EventID(id)}})
	read := next()
	if titles(read) != "b.b" || !read.GetEvents()[0].GetRead() || read.GetUnread().GetError() != 2 {
		t.Fatalf("got %v", read)
	}
	again := watching(ctx, t, client, third.GetRevision())() // as after a connection that broke
	if titles(again) != "b.b" || !again.GetEvents()[0].GetRead() {
		t.Errorf("resumed: got %v", again)
	}
}

func watching(ctx context.Context, t *testing.T, c gestorv1connect.EventServiceClient, after uint64) func() *gestorv1.WatchEventsResponse {
	t.Helper()
	stream, err := c.WatchEvents(ctx, &gestorv1.WatchEventsRequest{AfterRevision: after})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return func() *gestorv1.WatchEventsResponse {
		t.Helper()
		if !stream.Receive() {
			t.Fatalf("the stream ended: %v", stream.Err())
		}
		return stream.Msg()
	}
}

func titles(m *gestorv1.WatchEventsResponse) string {
	var all []string
	for _, e := range m.GetEvents() {
		all = append(all, e.GetTitle())
	}
	return strings.Join(all, " ")
}

const hook = "https://hooks.slack.com/services/T000/B000/XSECRETX"

func TestChannels_TakeSecretsAndNeverGiveThemBack(t *testing.T) {
	n := newNewsroom(t)
	ctx := as(t, "ten_1", gestor.User{ID: "usr_3"})
	made, err := n.channels.CreateChannel(ctx, &gestorv1.CreateChannelRequest{
		Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "chat"}, Secret: hook,
	})
	if err != nil || made.GetChannel().GetTarget() != "https://hooks.slack.com" || !made.GetChannel().GetHasSecret() || made.GetSigningKey() != "" {
		t.Fatalf("got %v, %v", made, err)
	}
	webhook, err := n.channels.CreateChannel(ctx, &gestorv1.CreateChannelRequest{
		Kind: gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK, Settings: &gestorv1.ChannelSettings{Name: "pager", Address: "https://pager.example.com/in?k=v"},
	})
	if err != nil || len(webhook.GetSigningKey()) < 32 || webhook.GetChannel().GetTarget() != "https://pager.example.com" {
		t.Fatalf("got %v, %v", webhook, err)
	}
	kept, err := n.View(gestor.SystemScope()).Channel(ctx, gestor.ChannelID(made.GetChannel().GetId()))
	if err != nil || strings.Contains(string(kept.SecretSealed), "SECRET") || kept.Rules.Repeat != 15*time.Minute {
		t.Errorf("got %+v, %v", kept, err)
	}
	if opened, err := n.ring.Open(kept.SecretSealed, gestor.ChannelPlace(kept.ID)); err != nil || string(opened) != hook {
		t.Errorf("got %q, %v", opened, err)
	}
	updated, err := n.channels.UpdateChannel(ctx, &gestorv1.UpdateChannelRequest{Channel: "chat", Settings: &gestorv1.ChannelSettings{Name: "talk", Disabled: true}})
	if err != nil || updated.GetChannel().GetTarget() != "https://hooks.slack.com" || !updated.GetChannel().GetHasSecret() {
		t.Errorf("got %v, %v", updated, err)
	}
	list, err := n.channels.ListChannels(ctx, &gestorv1.ListChannelsRequest{})
	if err != nil || len(list.GetChannels()) != 2 || strings.Contains(list.String(), "SECRET") || strings.Contains(list.String(), webhook.GetSigningKey()) {
		t.Errorf("got %v, %v", list, err)
	}
	entries, _, err := n.View(gestor.TenantScope("ten_1")).AuditEntries(ctx, gestor.Page{})
	if err != nil || len(entries) == 0 {
		t.Fatalf("got %v, %v", entries, err)
	}
	for _, e := range entries {
		if strings.Contains(e.Detail, "SECRET") || strings.Contains(e.Detail, "k=v") {
			t.Errorf("the audit log has %s", e.Detail)
		}
	}
}

func TestCreateChannel_RefusesWhatCannotWork(t *testing.T) {
	n := newNewsroom(t)
	ctx := as(t, "ten_1", gestor.User{ID: "usr_3"})
	day := &gestorv1.QuietHours{FromMinute: 60, ToMinute: 60}
	for name, req := range map[string]*gestorv1.CreateChannelRequest{
		"settings.address no mail":    {Kind: gestorv1.ChannelKind_CHANNEL_KIND_EMAIL, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "a@b, c@d"}},
		"secret of mail":              {Kind: gestorv1.ChannelKind_CHANNEL_KIND_EMAIL, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "a@example.com"}, Secret: "x"},
		"settings.address no URL":     {Kind: gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "ftp://x"}},
		"secret too short":            {Kind: gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "https://x.example"}, Secret: "short"},
		"secret missing":              {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x"}},
		"settings.address with Slack": {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x", Address: hook}, Secret: hook},
		"secret no token":             {Kind: gestorv1.ChannelKind_CHANNEL_KIND_TELEGRAM, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "-1"}, Secret: "../x"},
		"settings.address no chat":    {Kind: gestorv1.ChannelKind_CHANNEL_KIND_TELEGRAM, Settings: &gestorv1.ChannelSettings{Name: "x", Address: "a b"}},
		"settings.name two lines":     {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x\ny"}, Secret: hook},
		"settings.name backwards":     {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x\u202ey"}, Secret: hook},
		"settings.kinds[0] no kind":   {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x", Kinds: []string{"A B"}}, Secret: hook},
		"settings.quiet for ever":     {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x", Quiet: day}, Secret: hook},
		"settings.quiet.time_zone":    {Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "x", Quiet: &gestorv1.QuietHours{TimeZone: "Local", ToMinute: 60}}, Secret: hook},
	} {
		_, err := n.channels.CreateChannel(ctx, req)
		f, ok := errors.AsType[*fault.Error](err)
		if field, _, _ := strings.Cut(name, " "); !ok || f.Kind != fault.KindInvalid || f.Field != field {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestChannels_TellNobodyMoreThanTheirMakerSees(t *testing.T) {
	n := newNewsroom(t)
	narrow := as(t, "ten_1", gestor.User{ID: "usr_3", Narrow: gestor.Narrowing{Environments: []string{"staging"}}})
	whole, foreign := as(t, "ten_1", gestor.User{ID: "usr_1", Operator: true}), as(t, "ten_2", gestor.User{ID: "usr_2"})
	create := func(ctx context.Context, s *gestorv1.ChannelSettings) error {
		_, err := n.channels.CreateChannel(ctx, &gestorv1.CreateChannelRequest{Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: s, Secret: hook})
		return err
	}
	if err := create(narrow, &gestorv1.ChannelSettings{Name: "all"}); !errors.Is(err, fault.KindDenied) {
		t.Errorf("of all: got %v", err)
	}
	if err := create(narrow, &gestorv1.ChannelSettings{Name: "more", Environments: []string{"staging", "production"}}); !errors.Is(err, fault.KindDenied) {
		t.Errorf("of more: got %v", err)
	}
	if err := create(narrow, &gestorv1.ChannelSettings{Name: "staging", Environments: []string{"staging"}}); err != nil {
		t.Errorf("of just that: got %v", err)
	}
	if err := create(foreign, &gestorv1.ChannelSettings{Name: "installation", Installation: true}); !errors.Is(err, fault.KindDenied) {
		t.Errorf("of the installation: got %v", err)
	}
	if err := create(foreign, &gestorv1.ChannelSettings{Name: "theirs", Apps: []string{"shop"}}); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("of another tenant's app: got %v", err)
	}
	if err := create(whole, &gestorv1.ChannelSettings{Name: "whole", Installation: true}); err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"narrow": narrow, "foreign": foreign} {
		if _, err := n.channels.GetChannel(ctx, &gestorv1.GetChannelRequest{Channel: "whole"}); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := n.channels.DeleteChannel(ctx, &gestorv1.DeleteChannelRequest{Channel: "whole"}); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := n.channels.TestChannel(ctx, &gestorv1.TestChannelRequest{Channel: "whole"}); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	n.happen(t, "ten_1", "a.a", "")
	found, err := n.channels.ListDeliveries(whole, &gestorv1.ListDeliveriesRequest{Channel: "whole"})
	if err != nil || len(found.GetDeliveries()) != 1 || found.GetDeliveries()[0].GetEvent().GetKind() != "a.a" {
		t.Fatalf("got %v, %v", found, err)
	}
	if _, err := n.channels.RetryDelivery(foreign, &gestorv1.RetryDeliveryRequest{Id: found.GetDeliveries()[0].GetId()}); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestTestChannel_SaysWhatCameOfItAndIsNotForFloods(t *testing.T) {
	n := newNewsroom(t)
	ctx := as(t, "ten_1", gestor.User{ID: "usr_3"})
	_, err := n.channels.CreateChannel(ctx, &gestorv1.CreateChannelRequest{
		Kind: gestorv1.ChannelKind_CHANNEL_KIND_SLACK, Settings: &gestorv1.ChannelSettings{Name: "chat"}, Secret: hook,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := n.channels.TestChannel(ctx, &gestorv1.TestChannelRequest{Channel: "chat"}); err != nil || !res.GetSent() {
		t.Errorf("got %v, %v", res, err)
	}
	n.failing = errors.New("with the words of a stranger")
	res, err := n.channels.TestChannel(ctx, &gestorv1.TestChannelRequest{Channel: "chat"})
	if err != nil || res.GetSent() || strings.Contains(res.GetError(), "stranger") {
		t.Errorf("got %v, %v", res, err)
	}
	for range 20 {
		_, err = n.channels.TestChannel(ctx, &gestorv1.TestChannelRequest{Channel: "chat"})
	}
	if !errors.Is(err, fault.KindExhausted) {
		t.Errorf("twenty tests in a row: got %v", err)
	}
}
