package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func newChannel(id gestor.ChannelID, name string) gestor.Channel {
	return gestor.Channel{
		ID: id, Kind: gestor.ChannelWebhook, Name: name, Address: "https://example.com/" + name, Target: "https://example.com",
		SecretSealed: []byte("sealed"), Rules: gestor.ChannelRules{Severity: gestor.SeverityInfo, Repeat: 15 * time.Minute},
	}
}

func newEvent(kind, key string) gestor.Event {
	return gestor.Event{
		TenantID: "ten_a", Severity: gestor.SeverityError, Kind: kind, ObjectKind: "thing", ObjectID: "thing_1", Title: "it happened",
		Data: map[string]string{"thing": "one"}, Key: key,
	}
}

// eventStory is the part of a life of an installation that has to do with events; before is how many entries there were.
func eventStory(before uint64) []command.Op {
	id := gestor.NewDeliveryID(before+2, 0) // of the event that is the second of these
	changed := newChannel("chn_1", "calls")
	changed.Rules.Quiet = gestor.QuietHours{Zone: "Europe/Berlin", From: 22 * 60, To: 7 * 60, Days: []time.Weekday{time.Monday}, CriticalPasses: true}
	changed.SecretSealed = nil
	return []command.Op{
		command.CreateChannel{Channel: newChannel("chn_1", "calls")},
		command.RecordEvent{Event: newEvent("thing.broke", "thing_1")},
		command.RecordDelivery{ID: id, State: gestor.DeliveryQueued, NextAt: start.Add(time.Minute), Error: "no answer"},
		command.RecordDelivery{ID: id, Attempts: 1, State: gestor.DeliveryFailed, Error: "no answer"},
		command.RetryDelivery{ID: id},
		command.UpdateChannel{Channel: changed},
		command.TestChannel{ID: "chn_1"},
		command.MarkEventsRead{UserID: "usr_a", IDs: []gestor.EventID{gestor.NewEventID(before+2, 0)}},
		command.CreateChannel{Channel: newChannel("chn_2", "other")},
		command.DeleteChannel{ID: "chn_2"},
	}
}

func (w *world) eventsOf(kind string) []gestor.Event {
	w.t.Helper()
	all, err := w.view().EventsChangedSince(w.t.Context(), 0, state.EventFilter{Kind: kind}, 10000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) deliveries(ch gestor.ChannelID) []gestor.Delivery {
	w.t.Helper()
	all, _, err := w.view().Deliveries(w.t.Context(), ch, "", gestor.Page{Size: 500})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

func TestEvents_AreWrittenWhereThingsTurn(t *testing.T) {
	w := newWorld(t)
	w.deploy("good", live...)
	w.deploy("bad", gestor.DeploymentPreparing, gestor.DeploymentSwitching, gestor.DeploymentReverting, gestor.DeploymentFailed)
	w.deploy("worse", gestor.DeploymentPreparing, gestor.DeploymentFailed)
	alone := newBuild("bld_alone", "app_1")
	w.must(alone)
	w.finish(alone.Task.ID, gestor.TaskFailed, nil)
	for _, s := range []gestor.NodeStatus{gestor.NodeConnected, gestor.NodeSuspect, gestor.NodeLost, gestor.NodeLost, gestor.NodeConnected} {
		w.must(command.SetNodeStatus{ID: "nod_1", Status: s})
	}
	w.actor = system
	w.must(command.PutServer{Server: newServer("srv_1", "ctl1")})
	w.must(command.CreateServerToken{Token: newServerToken("tok_1")})
	w.must(command.EnrollServer{TokenID: "tok_1", SecretHash: secret, Server: newServer("srv_2", "ctl1")})
	w.must(command.DeleteServer{ID: "srv_1"})
	var got []string
	for _, e := range w.eventsOf("") {
		got = append(got, fmt.Sprintf("%s %s %s %q %s", e.Severity, e.Kind, e.TenantID, e.Title, e.AppID))
	}
	want := []string{
		`info node.enrolled ten_a "the node web1 was added" `,
		`info deployment.succeeded ten_a "shop was deployed by alice" app_1`,
		`error deployment.reverted ten_a "the deployment of shop was taken back: it broke" app_1`,
		`error deployment.failed ten_a "the deployment of shop failed: it broke" app_1`,
		`error build.failed ten_a "build 4 of shop failed: because" app_1`,
		`error node.lost ten_a "the node web1 is lost: its agent has not been heard of for some time" `,
		`info node.back ten_a "the node web1 is back" `,
		`warning server.joined  "the control server ctl1-2 has joined from ctl1.example.com:8444" `,
		`warning server.removed  "the control server ctl1 was removed by gestor" `,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEvents_AreNotInAStateOfTheFirstLevel(t *testing.T) {
	w := emptyWorld(t)
	for _, op := range founding() {
		if init, ok := op.(command.InitCluster); ok {
			init.Level = 1
			op = init
		}
		w.must(op)
	}
	w.must(command.SetNodeStatus{ID: "nod_1", Status: gestor.NodeLost})
	w.must(command.Prune{Before: start})
	w.refuses(fault.KindConflict, command.RecordEvent{Event: newEvent("a.b", "")})
	w.refuses(fault.KindConflict, command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	w.must(command.RaiseLevel{Level: 2})
	if got := w.eventsOf(""); len(got) != 0 {
		t.Errorf("the first level left %v", got)
	}
}

func TestEvent_OfARefusedCommandIsNotWritten(t *testing.T) {
	w := newWorld(t)
	before := len(w.eventsOf(""))
	w.refuses(fault.KindInvalid, command.RecordEvent{Event: gestor.Event{TenantID: "ten_a", Kind: "a.b"}})
	w.refuses(fault.KindInvalid, command.RecordEvent{Event: gestor.Event{TenantID: "ten_a", Severity: 1, Kind: "A b"}})
	w.actor = gestor.Actor{Kind: "user", ID: "usr_x", TenantID: "ten_x"}
	w.refuses(fault.KindNotFound, command.RecordEvent{Event: newEvent("a.b", "")})
	if got := len(w.eventsOf("")); got != before {
		t.Errorf("%d events, there were %d", got, before)
	}
}

func TestEvent_OfTheSameKeyAddsToTheFirstForAFewMinutes(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.must(command.RecordEvent{Event: newEvent("thing.broke", "k")})
		w.pass(4 * time.Minute)
	}
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "other")})
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "k")})
	var counts []int64
	for _, e := range w.eventsOf("thing") {
		counts = append(counts, e.Count)
	}
	if !slices.Equal(counts, []int64{3, 1, 1}) {
		t.Errorf("counts are %v, want 3 in the first ten minutes, then one of each key", counts)
	}
}

func TestEvent_IsBoundedText(t *testing.T) {
	w := newWorld(t)
	e := newEvent("thing.broke", "")
	e.Title = "a\r\nb\x00" + strings.Repeat("ü", 500)
	for i := range 100 {
		e.Data[fmt.Sprintf("name%03d", i)] = strings.Repeat("x", 5000)
	}
	w.must(command.RecordEvent{Event: e})
	got := w.eventsOf("thing")[0]
	if strings.ContainsAny(got.Title, "\r\n\x00") || len(got.Title) > 300 || len(got.Data) > 20 || len(got.Data["name000"]) > 500 {
		t.Errorf("got a title of %d bytes, %d facts, %q", len(got.Title), len(got.Data), got.Title[:10])
	}
}

func TestDeliveries_AreOnePerEventAndChannelThatTakesIt(t *testing.T) {
	w := newWorld(t)
	all, severe, kinds, narrow, off := newChannel("chn_1", "all"), newChannel("chn_2", "severe"), newChannel("chn_3", "kinds"), newChannel("chn_4", "narrow"), newChannel("chn_5", "off")
	severe.Rules.Severity = gestor.SeverityCritical
	kinds.Rules.Kinds = []string{"deployment", "node.lost"}
	narrow.Rules.Narrow = gestor.Narrowing{Environments: []string{"staging"}}
	off.Disabled = true
	for _, ch := range []gestor.Channel{all, severe, kinds, narrow, off} {
		w.must(command.CreateChannel{Channel: ch})
	}
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "")})
	critical := newEvent("node.lost", "")
	critical.Severity, critical.AppID = gestor.SeverityCritical, "app_1" // for production
	w.must(command.RecordEvent{Event: critical})
	settings := w.app("app_1").Settings
	settings.Environment = "staging"
	w.must(command.UpdateApp{ID: "app_1", Settings: settings})
	w.must(command.RecordEvent{Event: critical})
	w.actor = system
	w.must(command.RecordEvent{Event: gestor.Event{Severity: gestor.SeverityCritical, Kind: "server.unreachable", Title: "of the installation"}})
	for id, want := range map[gestor.ChannelID]int{"chn_1": 3, "chn_2": 2, "chn_3": 2, "chn_4": 1, "chn_5": 0} {
		if got := len(w.deliveries(id)); got != want {
			t.Errorf("channel %s has %d deliveries, want %d", id, got, want)
		}
	}
}

func TestDeliveries_TellOfTheInstallationToOperatorsOnly(t *testing.T) {
	w := newWorld(t)
	ch := newChannel("chn_1", "installation")
	ch.Installation = true
	w.must(command.CreateChannel{Channel: ch})
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "")})
	w.actor = system
	w.must(command.RecordEvent{Event: gestor.Event{Severity: gestor.SeverityError, Kind: "server.unreachable", Title: "t", ObjectID: "srv_9"}})
	if got := len(w.deliveries("chn_1")); got != 2 {
		t.Errorf("%d deliveries, want that of the tenant and that of the installation", got)
	}
	w.actor = gestor.Actor{Kind: "user", ID: "usr_nobody", TenantID: "ten_a"}
	other := newChannel("chn_2", "other")
	other.Installation = true
	w.refuses(fault.KindDenied, command.CreateChannel{Channel: other})
	ch.Installation = false
	w.refuses(fault.KindDenied, command.UpdateChannel{Channel: ch})
	w.refuses(fault.KindDenied, command.DeleteChannel{ID: "chn_1"})
}

func TestDeliveries_OfTheSameKeyAreToldOnceAndThenTogether(t *testing.T) {
	w := newWorld(t)
	ch := newChannel("chn_1", "calls")
	ch.Rules.Repeat = 30 * time.Minute
	w.must(command.CreateChannel{Channel: ch})
	for range 5 { // in 8 minutes: one event that happened five times
		w.must(command.RecordEvent{Event: newEvent("thing.broke", "k")})
		if first := w.deliveries("chn_1")[0]; first.State == gestor.DeliveryQueued {
			w.must(command.RecordDelivery{ID: first.ID, State: gestor.DeliverySent})
		}
		w.pass(2 * time.Minute)
	}
	got := w.deliveries("chn_1")
	if len(got) != 2 || got[1].More != 3 || got[1].Event.Count != 5 || !got[1].DueAt.Equal(start.Add(30*time.Minute)) {
		t.Errorf("got %+v, want one at once and one after the time, which tells of three more", got)
	}
	w.pass(time.Hour)
	w.must(command.RecordDelivery{ID: got[1].ID, State: gestor.DeliverySent})
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "k")})
	if got = w.deliveries("chn_1"); len(got) != 3 || !got[2].DueAt.Equal(w.now) {
		t.Errorf("got %+v, want a third at once", got)
	}
}

func TestDeliveries_ThatWaitAreBounded(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	for range gestor.MostWaiting + 7 {
		w.must(command.RecordEvent{Event: newEvent("thing.broke", "")})
	}
	got := w.deliveries("chn_1")
	if len(got) != gestor.MostWaiting || got[len(got)-1].More != 7 {
		t.Errorf("%d wait, the last tells of %d more; want %d and 7", len(got), got[len(got)-1].More, gestor.MostWaiting)
	}
}

func TestRecordDelivery_RefusesALeaderThatWasReplaced(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	w.must(command.RecordEvent{Event: newEvent("thing.broke", "")})
	id := w.deliveries("chn_1")[0].ID
	w.actor = system
	next := w.now.Add(time.Minute)
	w.must(command.RecordDelivery{ID: id, State: gestor.DeliveryQueued, NextAt: next, Error: "no answer"})
	w.refuses(fault.KindConflict, command.RecordDelivery{ID: id, State: gestor.DeliverySent})
	w.must(command.RecordDelivery{ID: id, Attempts: 1, State: gestor.DeliveryQueued, NextAt: next.Add(time.Hour), Held: true})
	if d := w.deliveries("chn_1")[0]; d.Attempts != 1 || !d.DueAt.Equal(next.Add(time.Hour)) {
		t.Errorf("got %+v, want quiet hours to count as no attempt", d)
	}
	w.refuses(fault.KindConflict, command.RetryDelivery{ID: id})
	w.must(command.RecordDelivery{ID: id, Attempts: 1, State: gestor.DeliveryFailed, Error: "refused"})
	if got := w.eventsOf("channel"); len(got) != 1 || got[0].ObjectID != "chn_1" {
		t.Errorf("got %+v, want to be told that the channel fails", got)
	}
	if got := w.deliveries("chn_1"); len(got) != 1 {
		t.Errorf("%d deliveries: the failure of a channel goes through it", len(got))
	}
	w.must(command.RetryDelivery{ID: id})
	if d := w.deliveries("chn_1")[0]; d.State != gestor.DeliveryQueued || d.Attempts != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestChannel_OfAnotherTenantIsUnknownAndNamesAreUnique(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	w.refuses(fault.KindExists, command.CreateChannel{Channel: newChannel("chn_2", "calls")})
	w.refuses(fault.KindExists, command.CreateChannel{Channel: newChannel("chn_1", "other")})
	w.refuses(fault.KindConflict, command.UpdateChannel{Channel: newChannel("chn_1", "new"), ExpectedRevision: 1})
	keeps := newChannel("chn_1", "new")
	keeps.SecretSealed, keeps.Kind = nil, gestor.ChannelSlack
	w.must(command.UpdateChannel{Channel: keeps})
	if got, err := w.view().Channel(t.Context(), "chn_1"); err != nil || string(got.SecretSealed) != "sealed" || got.Kind != gestor.ChannelWebhook || got.Name != "new" {
		t.Errorf("got %+v, %v", got, err)
	}
	w.actor = gestor.Actor{Kind: "user", ID: "usr_x", TenantID: "ten_x"}
	for _, op := range []command.Op{
		command.UpdateChannel{Channel: newChannel("chn_1", "mine")},
		command.DeleteChannel{ID: "chn_1"},
		command.TestChannel{ID: "chn_1"},
		command.MarkEventsRead{UserID: "usr_a"},
		command.CreateChannel{Channel: newChannel("chn_9", "x")},
	} {
		w.refuses(fault.KindNotFound, op)
	}
}

func TestMarkEventsRead_IsBoundedAndOfTheReader(t *testing.T) {
	w := newWorld(t)
	var ids []gestor.EventID
	for range gestor.MostReads + 10 {
		w.must(command.RecordEvent{Event: newEvent("thing.broke", "")})
	}
	for _, e := range w.eventsOf("thing") {
		ids = append(ids, e.ID)
	}
	for part := range slices.Chunk(ids[len(ids)-gestor.MostReads:], 100) {
		w.must(command.MarkEventsRead{UserID: "usr_a", IDs: part})
	}
	reads, err := w.view().EventReads(t.Context(), "usr_a")
	if err != nil || len(reads.Others) != gestor.MostReads || reads.Has(ids[0]) {
		t.Errorf("%d remembered, %v", len(reads.Others), err)
	}
	w.must(command.MarkEventsRead{UserID: "usr_a", UpTo: ids[len(ids)-2]})
	if reads, err = w.view().EventReads(t.Context(), "usr_a"); err != nil || len(reads.Others) != 1 || !reads.Has(ids[len(ids)-1]) || !reads.Has(ids[3]) {
		t.Errorf("got %d others, %v", len(reads.Others), err)
	}
}

func TestPrune_RemovesOldEventsAndThoseBeyondTheNumber(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "calls")})
	w.must(command.RecordEvent{Event: newEvent("thing.old", "")})
	w.must(command.RecordDelivery{ID: w.deliveries("chn_1")[0].ID, State: gestor.DeliverySent})
	w.pass(gestor.EventsKept + time.Hour)
	w.must(command.RecordEvent{Event: newEvent("thing.new", "")})
	w.must(command.Prune{Before: w.now.Add(-time.Hour)})
	if got := w.eventsOf("thing"); len(got) != 1 || got[0].Kind != "thing.new" {
		t.Errorf("got %+v", got)
	}
	if got := w.deliveries("chn_1"); len(got) != 1 || got[0].State != gestor.DeliveryQueued {
		t.Errorf("got %+v", got)
	}
	x, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.Revision = w.index + 1
	for range 5 {
		if _, err := x.AddEvent(t.Context(), newEvent("thing.new", "")); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(x.PruneEvents(t.Context(), time.Time{}, 2), x.Commit(t.Context(), w.index))
	if got := w.eventsOf(""); err != nil || len(got) != 2 {
		t.Errorf("%d left, %v", len(got), err)
	}
}

// Commands that come together are one entry, and what one of them makes another one may remove.
func TestDeliveries_OfOneEntryDoNotTakeThePlaceOfOthers(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateChannel{Channel: newChannel("chn_1", "one")})
	w.must(command.CreateChannel{Channel: newChannel("chn_2", "two")})
	of := func(op command.Op) command.Command { return command.Command{At: w.now, Actor: alice, Op: op} }
	w.apply(
		of(command.RecordEvent{Event: newEvent("thing.broke", "thing_1")}),
		of(command.DeleteChannel{ID: "chn_1"}),
		of(command.RecordEvent{Event: newEvent("thing.broke", "thing_2")}),
	)
	if got := w.deliveries("chn_2"); len(got) != 2 || got[0].Event.Key != "thing_1" || got[1].Event.Key != "thing_2" {
		t.Errorf("got %+v", got)
	}
}
