package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
	"github.com/saas-gestor/gestor/server/internal/outward"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// machine is a state machine of one server, without replication.
type machine struct {
	*state.Store
	t testing.TB

	mu    sync.Mutex
	fsm   *fsm.FSM
	index uint64
	lose  func(command.Op) bool // commands that do not arrive
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	m := &machine{Store: store, t: t, fsm: fsm.New(store, "test")}
	m.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: []byte("x")}, Level: 2})
	m.must(command.Claim{SetupHash: []byte("x"), TenantID: "ten_1", TenantName: "One", UserID: "usr_1", Email: "a@example.com"})
	return m
}

// Propose applies at once.
func (m *machine) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lose != nil && m.lose(c.Op) {
		return command.Receipt{}, fault.Unavailable("nobody leads")
	}
	wire, err := command.Encode(c)
	if err != nil {
		return command.Receipt{}, err
	}
	data, err := proto.Marshal(&raftv1.Batch{Commands: []*raftv1.Command{wire}})
	if err != nil {
		return command.Receipt{}, err
	}
	m.index++
	r := m.fsm.Apply([]fsm.Entry{{Index: m.index, Data: data}})[0][0]
	return r.Receipt, r.Err
}

func (m *machine) must(op command.Op) {
	m.t.Helper()
	actor := gestor.Actor{Kind: "user", ID: "usr_1", TenantID: "ten_1"}
	if _, err := m.Propose(m.t.Context(), command.Command{At: time.Now(), Actor: actor, Op: op}); err != nil {
		m.t.Fatalf("%T: %v", op, err)
	}
}

func (m *machine) channel(id string, kind gestor.ChannelKind, address, secret string) {
	m.t.Helper()
	m.must(command.CreateChannel{Channel: gestor.Channel{
		ID: gestor.ChannelID(id), Kind: kind, Name: id, Address: address, SecretSealed: []byte(secret),
	}})
}

func (m *machine) event(title string) {
	m.t.Helper()
	m.must(command.RecordEvent{Event: gestor.Event{TenantID: "ten_1", Severity: gestor.SeverityError, Kind: "node.lost", Title: title}})
}

// await waits until the deliveries of a channel are as wanted.
func (m *machine) await(channel string, done func([]gestor.Delivery) bool) []gestor.Delivery {
	m.t.Helper()
	news := m.Watch(state.Deliveries, state.Channels)
	defer news.Close()
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	for {
		all, _, err := m.View(gestor.SystemScope()).Deliveries(ctx, gestor.ChannelID(channel), "", gestor.Page{Size: 500})
		if err == nil && done(all) {
			return all
		}
		select {
		case <-news.C:
		case <-ctx.Done():
			m.t.Fatalf("the deliveries of %s stay %+v (%v)", channel, all, err)
		}
	}
}

func allAre(n int, s gestor.DeliveryState) func([]gestor.Delivery) bool {
	return func(all []gestor.Delivery) bool {
		return len(all) == n && !slices.ContainsFunc(all, func(d gestor.Delivery) bool { return d.State != s })
	}
}

// clearly keeps secrets as they are.
type clearly struct{}

func (clearly) Open(sealed []byte, _ string) ([]byte, error) {
	if string(sealed) == "lost" {
		return nil, errors.New("no such key")
	}
	return sealed, nil
}

// post is a request that a receiver got.
type post struct {
	path   string
	header http.Header
	body   []byte
}

type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	posts []post
}

func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.posts = append(r.posts, post{req.URL.Path, req.Header.Clone(), body})
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.posts)
}

func newSender(telegram string) *Sender {
	unsent, err := mail.New(mail.Options{})
	if err != nil {
		panic(err)
	}
	web := outward.New(outward.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 5 * time.Second})
	return NewSender(SenderOptions{Secrets: clearly{}, Mail: unsent, Web: web, Telegram: telegram})
}

// lead runs a Service until the returned function, or the end of the test.
func lead(t testing.TB, m *machine, o Options) (stop func()) {
	t.Helper()
	o.Engine = m
	if o.Sender == nil {
		o.Sender = newSender("")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = New(o).RunTerm(ctx)
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

func TestWebhook_IsSignedSoThatAReceiverCanCheckIt(t *testing.T) {
	r := newReceiver(t, nil)
	m := newMachine(t)
	m.channel("chn_1", gestor.ChannelWebhook, r.URL+"/in", "the signing key")
	lead(t, m, Options{})
	m.event("the node <web1> is lost")
	sent := m.await("chn_1", allAre(1, gestor.DeliverySent))
	p := r.got()[0]
	if want := Sign([]byte("the signing key"), p.header.Get("X-Gestor-Timestamp"), p.body); p.header.Get("X-Gestor-Signature") != want {
		t.Errorf("signature %q, want %q", p.header.Get("X-Gestor-Signature"), want)
	}
	if got := Sign([]byte("key"), "1700000000", []byte("{}")); got != "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae" {
		t.Errorf("the documented example is signed %s", got)
	}
	var body webhook
	if err := json.Unmarshal(p.body, &body); err != nil || body.Kind != "node.lost" || body.Severity != "error" || body.ID != string(sent[0].ID) ||
		body.Title != "the node <web1> is lost" || body.Count != 1 {
		t.Errorf("got %s, %v", p.body, err)
	}
	if p.header.Get("X-Gestor-Delivery") != body.ID || p.header.Get("Idempotency-Key") != body.ID || p.header.Get("X-Gestor-Event") != "node.lost" {
		t.Errorf("got %v", p.header)
	}
}

func TestChannels_OfEachKindSendTheirForm(t *testing.T) {
	r := newReceiver(t, nil)
	m := newMachine(t)
	m.channel("chn_slack", gestor.ChannelSlack, "", r.URL+"/slack")
	m.channel("chn_discord", gestor.ChannelDiscord, "", r.URL+"/discord")
	m.channel("chn_telegram", gestor.ChannelTelegram, "-100", "123:TOKEN")
	lead(t, m, Options{Sender: newSender(r.URL)})
	m.event("<!channel> @everyone [x](https://evil.example) **b** & <b>")
	for _, id := range []string{"chn_slack", "chn_discord", "chn_telegram"} {
		m.await(id, allAre(1, gestor.DeliverySent))
	}
	bodies := map[string]string{}
	for _, p := range r.got() {
		bodies[p.path] = string(p.body)
	}
	for path, want := range map[string]string{
		"/slack":                    `"unfurl_links":false`,
		"/discord":                  `"allowed_mentions":{"parse":[]}`,
		"/bot123:TOKEN/sendMessage": `"parse_mode":"HTML"`,
	} {
		if !strings.Contains(bodies[path], want) {
			t.Errorf("%s got %s", path, bodies[path])
		}
	}
}

func TestDelivery_IsTriedAgainLaterAndFailsInTheEnd(t *testing.T) {
	d := gestor.Delivery{DueAt: time.Now()}
	var waits []time.Duration
	now := d.DueAt
	s := New(Options{Engine: nil, Now: func() time.Time { return now }})
	term := &term{Service: s}
	for d.State != gestor.DeliveryFailed {
		op := term.outcome(command.RecordDelivery{}, d, fault.Unavailable("down"))
		d.State = op.State
		if op.State == gestor.DeliveryQueued {
			waits = append(waits, op.NextAt.Sub(now))
			now = op.NextAt
		}
		d.Attempts++
	}
	if len(waits) != 11 || waits[0] != time.Minute || waits[10] != 6*time.Hour || now.Sub(d.DueAt) > giveUpAfter || now.Sub(d.DueAt) < 14*time.Hour {
		t.Errorf("it waits %v, in all %s", waits, now.Sub(d.DueAt))
	}
	for _, err := range []error{fault.Conflict("gone"), fault.Denied("inside"), fault.Invalid("x", "bad")} {
		if op := term.outcome(command.RecordDelivery{}, gestor.Delivery{DueAt: now}, err); op.State != gestor.DeliveryFailed {
			t.Errorf("%v: it is tried again", err)
		}
	}
	busy := fault.Unavailable("busy").WithRetryAfter(time.Hour)
	if op := term.outcome(command.RecordDelivery{}, gestor.Delivery{DueAt: now}, busy); op.NextAt.Sub(now) != time.Hour {
		t.Errorf("a busy receiver is asked again after %s", op.NextAt.Sub(now))
	}
}

func TestDelivery_OfADeadReceiverDelaysNobodyElse(t *testing.T) {
	release := make(chan struct{})
	dead := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	alive := newReceiver(t, nil)
	m := newMachine(t)
	for i := range 6 {
		m.channel(fmt.Sprint("chn_dead", i), gestor.ChannelWebhook, dead.URL, "a key of sixteen")
	}
	m.channel("chn_alive", gestor.ChannelWebhook, alive.URL, "a key of sixteen")
	lead(t, m, Options{})
	for range 5 {
		m.event("lost")
	}
	m.await("chn_alive", allAre(5, gestor.DeliverySent))
	if n := len(dead.got()); n > 6 {
		t.Errorf("%d messages are on their way to channels that answer none", n)
	}
}

func TestDelivery_ThatWasSentAndNotWrittenDownIsSentAgainUnderItsID(t *testing.T) {
	r := newReceiver(t, nil)
	m := newMachine(t)
	m.channel("chn_1", gestor.ChannelWebhook, r.URL, "a key of sixteen")
	lost := make(chan struct{}, 100)
	m.lose = func(op command.Op) bool {
		_, is := op.(command.RecordDelivery)
		if is {
			lost <- struct{}{}
		}
		return is
	}
	stop := lead(t, m, Options{Pause: time.Millisecond})
	m.event("lost")
	<-lost // it was sent
	stop() // and another leads
	m.mu.Lock()
	m.lose = nil
	m.mu.Unlock()
	lead(t, m, Options{})
	m.await("chn_1", allAre(1, gestor.DeliverySent))
	got := r.got()
	if len(got) != 2 || got[0].header.Get(HeaderDelivery) != got[1].header.Get(HeaderDelivery) || got[0].header.Get(HeaderDelivery) == "" {
		t.Errorf("%d messages: %v", len(got), got)
	}
}

func TestDelivery_OfADisabledChannelIsDropped(t *testing.T) {
	r := newReceiver(t, nil)
	m := newMachine(t)
	m.channel("chn_1", gestor.ChannelWebhook, r.URL, "a key of sixteen")
	m.event("lost")
	m.must(command.UpdateChannel{Channel: gestor.Channel{ID: "chn_1", Name: "chn_1", Address: r.URL, Disabled: true}})
	lead(t, m, Options{})
	m.await("chn_1", allAre(1, gestor.DeliveryDropped))
	if len(r.got()) != 0 {
		t.Error("it was sent nevertheless")
	}
}

func TestDelivery_WaitsForTheEndOfQuietHoursUnlessItIsCritical(t *testing.T) {
	r := newReceiver(t, nil)
	m := newMachine(t)
	m.must(command.CreateChannel{Channel: gestor.Channel{
		ID: "chn_1", Kind: gestor.ChannelWebhook, Name: "night", Address: r.URL, SecretSealed: []byte("a key of sixteen"),
		Rules: gestor.ChannelRules{Quiet: gestor.QuietHours{Zone: "Europe/Berlin", From: 22 * 60, To: 7 * 60, CriticalPasses: true}},
	}})
	night := time.Date(2026, 1, 15, 2, 0, 0, 0, time.UTC) // 03:00 in Berlin
	var mu sync.Mutex
	now := night
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	at := func(op command.Op) {
		if _, err := m.Propose(t.Context(), command.Command{At: clock(), Actor: gestor.SystemActor("test"), Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	stop := lead(t, m, Options{Now: clock})
	at(command.RecordEvent{Event: gestor.Event{TenantID: "ten_1", Severity: gestor.SeverityError, Kind: "a.b", Title: "can wait"}})
	held := m.await("chn_1", func(all []gestor.Delivery) bool { return len(all) == 1 && all[0].NextAt.After(night) })
	if want := time.Date(2026, 1, 15, 6, 0, 0, 0, time.UTC); !held[0].NextAt.Equal(want) || held[0].Attempts != 0 || len(r.got()) != 0 {
		t.Errorf("got %+v, want it held until %s", held[0], want)
	}
	at(command.RecordEvent{Event: gestor.Event{TenantID: "ten_1", Severity: gestor.SeverityCritical, Kind: "a.b", Title: "cannot"}})
	m.await("chn_1", func(all []gestor.Delivery) bool { return len(all) == 2 && all[0].State == gestor.DeliverySent })
	stop()
	mu.Lock()
	now = held[0].NextAt
	mu.Unlock()
	lead(t, m, Options{Now: clock})
	m.await("chn_1", allAre(2, gestor.DeliverySent))
}

func TestSend_SaysWhatWentWrongWithoutTheAnswer(t *testing.T) {
	status := 500
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "ANSWER")
	})
	s := newSender("")
	for _, c := range []struct {
		status int
		kind   gestor.ChannelKind
		want   fault.Kind
	}{
		{500, gestor.ChannelWebhook, fault.KindUnavailable},
		{404, gestor.ChannelWebhook, fault.KindUnavailable},
		{410, gestor.ChannelWebhook, fault.KindConflict},
		{302, gestor.ChannelWebhook, fault.KindConflict},
		{429, gestor.ChannelSlack, fault.KindUnavailable},
		{404, gestor.ChannelSlack, fault.KindConflict},
		{403, gestor.ChannelDiscord, fault.KindConflict},
	} {
		status = c.status
		ch := gestor.Channel{Kind: c.kind, Name: "x", Address: r.URL, SecretSealed: []byte(r.URL + "/SECRET")}
		err := s.Test(t.Context(), ch)
		if !errors.Is(err, c.want) || strings.Contains(err.Error(), "ANSWER") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%d of %s: got %v", c.status, c.kind, err)
		}
	}
	for name, ch := range map[string]gestor.Channel{
		"no secret": {Kind: gestor.ChannelSlack, Name: "x"}, "lost key": {Kind: gestor.ChannelSlack, Name: "x", SecretSealed: []byte("lost")},
		"no mail server": {Kind: gestor.ChannelEmail, Address: "a@example.com"}, "unknown kind": {Kind: "fax", SecretSealed: []byte("x")},
	} {
		if err := s.Test(t.Context(), ch); err == nil || Text(err) == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzForms_KeepTextFromMeaningAnything(f *testing.F) {
	f.Add("<!channel> <https://evil.example|x> & @here")
	f.Add("[a](https://evil.example) @everyone `x` **b** \\*c*")
	f.Add("<b>x</b>&amp;\x00\xff")
	f.Fuzz(func(t *testing.T, title string) {
		e := gestor.Event{Title: title}.Bounded()
		d := gestor.Delivery{Event: e}
		slack, discord := escapeSlack(e.Title), escapeDiscord(e.Title)
		if strings.ContainsAny(slack, "<>") || strings.Contains(slack, "@here") || strings.Contains(slack, "://") || strings.Contains(slack, "](") {
			t.Errorf("Slack reads more than text in %q", slack)
		}
		if strings.Contains(discord, "@everyone") || strings.Contains(discord, "@here") || strings.Contains(discord, "](") || strings.Contains(discord, "://") {
			t.Errorf("Discord reads more than text in %q", discord)
		}
		for _, b := range [][]byte{slackBody(d), discordBody(d), telegramBody("1", d)} {
			if !json.Valid(b) || len(b) > 20000 {
				t.Errorf("no form of a message: %d bytes", len(b))
			}
		}
		if s := mailSubject(d); strings.ContainsAny(s, "\r\n\x00") || s == "" {
			t.Errorf("no subject: %q", s)
		}
	})
}
