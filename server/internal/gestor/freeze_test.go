package gestor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func once(zone, from, to string) gestor.Freeze {
	return gestor.Freeze{Name: "x", TimeZone: zone, From: from, To: to}
}

func weekly(zone, start, end string, days ...time.Weekday) gestor.Freeze {
	return gestor.Freeze{Name: "x", TimeZone: zone, Days: days, Start: start, End: end}
}

func TestFreeze_HoldsAtTheWallClockOfItsTimeZone(t *testing.T) {
	const (
		saoPaulo  = "America/Sao_Paulo" // UTC-3; turned its clocks at midnight until 2019
		newYork   = "America/New_York"  // UTC-5, UTC-4 from 2026-03-08 to 2026-11-01
		lordHowe  = "Australia/Lord_Howe"
		kathmandu = "Asia/Kathmandu"
	)
	for name, c := range map[string]struct {
		freeze     gestor.Freeze
		begin, end string // in UTC: held from begin on, until before end
	}{
		"dates include the last day":       {once(saoPaulo, "2026-11-27", "2026-11-29"), "2026-11-27 03:00", "2026-11-30 03:00"},
		"a time of day ends it":            {once(saoPaulo, "2026-11-27", "2026-11-30 08:00"), "2026-11-27 03:00", "2026-11-30 11:00"},
		"the moment may have a T":          {once("UTC", "2026-11-27T18:00", "2026-11-27T19:00"), "2026-11-27 18:00", "2026-11-27 19:00"},
		"over the end of the year":         {once("UTC", "2026-12-24", "2027-01-01"), "2026-12-24 00:00", "2027-01-02 00:00"},
		"a zone with minutes":              {once(kathmandu, "2026-11-27", "2026-11-27"), "2026-11-26 18:15", "2026-11-27 18:15"},
		"a day of 23 hours":                {once(newYork, "2026-03-08", "2026-03-08"), "2026-03-08 05:00", "2026-03-09 04:00"},
		"a day of 25 hours":                {once(newYork, "2026-11-01", "2026-11-01"), "2026-11-01 04:00", "2026-11-02 05:00"},
		"it begins at a time twice":        {once(newYork, "2026-11-01 01:30", "2026-11-01 12:00"), "2026-11-01 05:30", "2026-11-01 17:00"},
		"it ends at a time twice":          {once(newYork, "2026-11-01", "2026-11-01 01:30"), "2026-11-01 04:00", "2026-11-01 06:30"},
		"it begins at a time skipped":      {once(newYork, "2026-03-08 02:30", "2026-03-08 12:00"), "2026-03-08 06:30", "2026-03-08 16:00"},
		"it ends at a time skipped":        {once(newYork, "2026-03-08", "2026-03-08 02:30"), "2026-03-08 05:00", "2026-03-08 07:30"},
		"midnight is skipped":              {once(saoPaulo, "2018-11-04", "2018-11-04"), "2018-11-04 02:00", "2018-11-05 02:00"},
		"clocks turned by half an hour":    {once(lordHowe, "2026-04-05", "2026-04-05"), "2026-04-04 13:00", "2026-04-05 13:30"},
		"every Friday evening":             {weekly(saoPaulo, "18:00", "24:00", time.Friday), "2026-11-27 21:00", "2026-11-28 03:00"},
		"over midnight":                    {weekly("UTC", "22:00", "06:00", time.Friday), "2026-11-27 22:00", "2026-11-28 06:00"},
		"around the clock":                 {weekly("UTC", "08:00", "08:00", time.Friday), "2026-11-27 08:00", "2026-11-28 08:00"},
		"every night, over the long night": {weekly(newYork, "23:00", "06:00", time.Saturday), "2026-11-01 03:00", "2026-11-01 11:00"},
		"every night, over the short one":  {weekly(newYork, "23:00", "06:00", time.Saturday), "2026-03-08 04:00", "2026-03-08 10:00"},
	} {
		f, err := c.freeze.Validate("freeze")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		begin, end := utc(c.begin), utc(c.end)
		for _, at := range []time.Time{begin, begin.Add(time.Minute), end.Add(-time.Nanosecond)} {
			if w, ok := f.At(at); !ok || !w.Begin.Equal(begin) || !w.End.Equal(end) {
				t.Errorf("%s: at %s got %v %v to %v, want %s to %s", name, at, ok, w.Begin.UTC(), w.End.UTC(), c.begin, c.end)
			}
		}
		for _, at := range []time.Time{begin.Add(-time.Nanosecond), end} {
			if w, ok := f.At(at); ok {
				t.Errorf("%s: at %s it holds from %s to %s", name, at, w.Begin.UTC(), w.End.UTC())
			}
		}
		if next := f.Next(begin.Add(-time.Nanosecond)); !next.Equal(begin) {
			t.Errorf("%s: before it the next begins %s, want %s", name, next.UTC(), c.begin)
		}
	}
}

func TestFreeze_ComesAgainEveryWeekAndOnceNeverAgain(t *testing.T) {
	f := weekly("UTC", "18:00", "20:00", time.Monday, time.Friday)
	for _, c := range [][2]string{
		{"2026-11-23 00:00", "2026-11-23 18:00"}, {"2026-11-23 18:00", "2026-11-27 18:00"}, {"2026-11-27 19:00", "2026-11-30 18:00"},
	} {
		if got := f.Next(utc(c[0])); !got.Equal(utc(c[1])) {
			t.Errorf("after %s it begins %s, want %s", c[0], got, c[1])
		}
	}
	if got := once("UTC", "2026-11-27", "2026-11-27").Next(utc("2026-11-28 00:00")); !got.IsZero() {
		t.Errorf("a freeze that is over begins again %s", got)
	}
}

func TestProtectionValidate_NamesTheFieldAndSaysWhatToWrite(t *testing.T) {
	good := gestor.Protection{Environment: "production", RequireApproval: true, Approvals: 2, Freezes: []gestor.Freeze{once("UTC", "2026-11-27", "2026-11-28")}}
	for field, spoil := range map[string]func(*gestor.Protection){
		"protection.environment":          func(p *gestor.Protection) { p.Environment = "live" },
		"protection.approvals":            func(p *gestor.Protection) { p.Approvals = 4 },
		"protection.freezes":              func(p *gestor.Protection) { p.Freezes = make([]gestor.Freeze, 51) },
		"protection.freezes[0].name":      func(p *gestor.Protection) { p.Freezes[0].Name = "a\u202eb" },
		"protection.freezes[1].name":      func(p *gestor.Protection) { p.Freezes = append(p.Freezes, p.Freezes[0]) },
		"protection.freezes[0].reason":    func(p *gestor.Protection) { p.Freezes[0].Reason = "a\x1b[31m" },
		"protection.freezes[0].time_zone": func(p *gestor.Protection) { p.Freezes[0].TimeZone = "Local" },
		"protection.freezes[0].from":      func(p *gestor.Protection) { p.Freezes[0].From = "27/11/2026" },
		"protection.freezes[0].to":        func(p *gestor.Protection) { p.Freezes[0].To = "2026-11-26" },
		"protection.freezes[0]":           func(p *gestor.Protection) { p.Freezes[0] = gestor.Freeze{Name: "x", TimeZone: "UTC"} },
		"protection.freezes[0].days":      func(p *gestor.Protection) { p.Freezes[0] = weekly("UTC", "08:00", "09:00", 9) },
		"protection.freezes[0].start":     func(p *gestor.Protection) { p.Freezes[0] = weekly("UTC", "24:00", "09:00", 1) },
		"protection.freezes[0].end":       func(p *gestor.Protection) { p.Freezes[0] = weekly("UTC", "08:00", "9:00", 1) },
	} {
		p := good
		p.Freezes = append([]gestor.Freeze{}, good.Freezes...)
		spoil(&p)
		_, err := p.Validate()
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	for _, zone := range []string{"", "local", "Mars/Olympus", "../etc/passwd"} {
		p := good
		p.Freezes = []gestor.Freeze{once(zone, "2026-11-27", "2026-11-28")}
		if _, err := p.Validate(); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("the time zone %q was taken: %v", zone, err)
		}
	}
	if p, err := good.Validate(); err != nil || p.Needed() != 2 {
		t.Errorf("got %+v, %v", p, err)
	}
	both := good
	both.Freezes = []gestor.Freeze{{Name: "x", TimeZone: "UTC", From: "2026-11-27", To: "2026-11-28", Start: "08:00"}}
	if _, err := both.Validate(); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("a freeze that is once and weekly was taken: %v", err)
	}
}
