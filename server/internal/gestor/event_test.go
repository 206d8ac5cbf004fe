package gestor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/saas-gestor/gestor/proto/fault"
)

func TestEnd_FollowsTheClockOnTheWall(t *testing.T) {
	night := QuietHours{From: 22 * 60, To: 7 * 60}
	noon := QuietHours{From: 12 * 60, To: 13 * 60, Days: []time.Weekday{time.Monday}}
	weekend := QuietHours{From: 0, To: 24 * 60, Days: []time.Weekday{time.Saturday, time.Sunday}}
	friday := QuietHours{From: 22 * 60, To: 7 * 60, Days: []time.Weekday{time.Friday}}
	skipped := QuietHours{From: 2*60 + 15, To: 2*60 + 45}
	for name, c := range map[string]struct {
		q         QuietHours
		zone      string
		now, want string // empty: not quiet
	}{
		"before the night":                       {night, "UTC", "2026-01-15T21:59:59Z", ""},
		"the night begins":                       {night, "UTC", "2026-01-15T22:00:00Z", "2026-01-16T07:00:00Z"},
		"after midnight":                         {night, "UTC", "2026-01-16T06:59:59Z", "2026-01-16T07:00:00Z"},
		"the night is over":                      {night, "UTC", "2026-01-16T07:00:00Z", ""},
		"the night of another zone":              {night, "America/Sao_Paulo", "2026-01-16T02:00:00Z", "2026-01-16T10:00:00Z"},
		"east of here it is tomorrow":            {night, "Pacific/Auckland", "2026-01-15T10:00:00Z", "2026-01-15T18:00:00Z"},
		"half an hour off":                       {night, "Asia/Kolkata", "2026-01-15T16:30:00Z", "2026-01-16T01:30:00Z"},
		"the short night of spring":              {night, "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"},
		"the long night of autumn":               {night, "Europe/Berlin", "2026-10-24T21:00:00Z", "2026-10-25T06:00:00Z"},
		"one day of the week":                    {noon, "UTC", "2026-01-19T12:30:00Z", "2026-01-19T13:00:00Z"},
		"the next day":                           {noon, "UTC", "2026-01-20T12:30:00Z", ""},
		"days that follow on each other are one": {weekend, "UTC", "2026-01-17T05:00:00Z", "2026-01-19T00:00:00Z"},
		"the morning after the day it begins on": {friday, "UTC", "2026-01-17T03:00:00Z", "2026-01-17T07:00:00Z"},
		"the evening after":                      {friday, "UTC", "2026-01-17T23:00:00Z", ""},
		"an hour that the clock leaves out":      {skipped, "Europe/Berlin", "2026-03-29T00:30:00Z", ""},
		"an hour that comes twice":               {skipped, "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, _ := time.Parse(time.RFC3339, c.now)
		got := ""
		if end := c.q.End(now, zone); !end.IsZero() {
			got = end.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestEnd_IsNeverBeforeNowAndAlwaysFound(t *testing.T) {
	q := QuietHours{From: 23 * 60, To: 23*60 + 30}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	quiet := 0
	for now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); now.Year() == 2026; now = now.Add(10 * time.Minute) {
		end := q.End(now, zone)
		if end.IsZero() {
			continue
		}
		quiet++
		if !end.After(now) || end.Sub(now) > 31*time.Minute {
			t.Fatalf("at %s it ends at %s", now, end)
		}
	}
	if quiet != 365*3 {
		t.Errorf("it was quiet %d times in a year of half hours, want %d", quiet, 365*3)
	}
	always := QuietHours{From: 0, To: 24 * 60}
	if always.End(time.Now(), time.UTC).IsZero() {
		t.Error("hours that never end are not quiet")
	}
}

func TestEventReads_RememberWhatWasRead(t *testing.T) {
	id := func(n int) EventID { return NewEventID(uint64(n), 0) }
	var r EventReads
	r = r.Add("", id(5), id(3), id(5))
	if !r.Has(id(3)) || r.Has(id(4)) || !r.Has(id(5)) || len(r.Others) != 2 {
		t.Errorf("got %+v", r)
	}
	r = r.Add(id(4))
	if !r.Has(id(1)) || !r.Has(id(4)) || r.Has(id(6)) || !slices.Equal(r.Others, []EventID{id(5)}) {
		t.Errorf("got %+v", r)
	}
	r = r.Add(id(2)) // never back
	if r.UpTo != id(4) {
		t.Errorf("got %+v", r)
	}
	for n := range 2 * MostReads {
		r = r.Add("", id(100+2*n))
	}
	if len(r.Others) > MostReads || !r.Has(id(100)) || !r.Has(id(101)) || r.Has(id(100+4*MostReads-3)) {
		t.Errorf("%d are remembered, up to %s", len(r.Others), r.UpTo)
	}
}

func TestNewEventID_IsGreaterForLaterEvents(t *testing.T) {
	var ids []EventID
	for _, at := range []uint64{1, 9, 10, 15, 16, 255, 1 << 20, 1 << 45} {
		ids = append(ids, NewEventID(at, 0), NewEventID(at, 9), NewEventID(at, 300))
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
		t.Errorf("got %v", ids)
	}
}

func TestKindWithin_TakesWholeWords(t *testing.T) {
	for _, c := range []struct {
		kind, prefix string
		want         bool
	}{
		{"node.lost", "node", true},
		{"node.lost", "node.", true},
		{"node.lost", "node.lost", true},
		{"nodes.lost", "node", false},
		{"node.lost", "node.lo", false},
		{"node", "node.lost", false},
	} {
		if KindWithin(c.kind, c.prefix) != c.want {
			t.Errorf("%s within %s is not %v", c.kind, c.prefix, c.want)
		}
	}
}

func TestCheckEventKind_RefusesWhatIsNoKind(t *testing.T) {
	for _, kind := range []string{"", "Node", "1a", ".a", "a b", "a\n", "a%", strings.Repeat("a", 101), "ä"} {
		if err := CheckEventKind("kind", kind); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q: got %v", kind, err)
		}
	}
}

func TestTakes_KeepsEventsOfOtherTenantsAndOfTheInstallationOut(t *testing.T) {
	ch := Channel{ID: "chn_1", TenantID: "ten_1"}
	narrow := ch
	narrow.Rules.Narrow = Narrowing{Apps: []AppID{"app_1"}, Environments: []string{"staging"}}
	all := ch
	all.Installation = true
	for i, c := range []struct {
		ch          Channel
		e           Event
		environment string
		want        bool
	}{
		{ch, Event{TenantID: "ten_1"}, "", true},
		{ch, Event{TenantID: "ten_2"}, "", false},
		{ch, Event{}, "", false},
		{all, Event{}, "", true},
		{all, Event{TenantID: "ten_2"}, "", false},
		{ch, Event{TenantID: "ten_1", ObjectID: "chn_1"}, "", false},
		{narrow, Event{TenantID: "ten_1", AppID: "app_1"}, "production", true},
		{narrow, Event{TenantID: "ten_1", AppID: "app_2"}, "", false},
		{narrow, Event{TenantID: "ten_1", AppID: "app_2"}, "staging", true},
		{narrow, Event{TenantID: "ten_1"}, "", false},
	} {
		if got := c.ch.Takes(c.e, c.environment); got != c.want {
			t.Errorf("%d: got %v for %+v", i, got, c.e)
		}
	}
}

func FuzzBounded_IsOneLineOfText(f *testing.F) {
	f.Add("a\r\nb")
	f.Add("\xff\x00\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		e := Event{Title: text, Data: map[string]string{text: text}}.Bounded()
		for _, s := range []string{e.Title, fmt.Sprint(e.Data)} {
			if strings.ContainsAny(s, "\r\n\x00\u2028\u2029") {
				t.Errorf("%q becomes %q", text, s)
			}
		}
		if len(e.Title) > mostEventTitle {
			t.Errorf("a title of %d bytes", len(e.Title))
		}
	})
}
