package gestor

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // servers without tables of time zones have those of the program

	"github.com/saas-gestor/gestor/proto/fault"
)

// Freeze is a time in which nothing is switched: once, From to To, or every week, from Start to End on Days. Its times are
// those of the wall clock in TimeZone. Where such a time does not exist or comes twice, because clocks are turned, the
// freeze is the longer of what it could be.
//
// What time it is somewhere depends on tables that come with a program and change: the state machine must not ask.
type Freeze struct {
	Name     string
	Reason   string         `json:",omitempty"`
	TimeZone string         // IANA: "America/Sao_Paulo"
	From     string         `json:",omitempty"` // "2026-11-27" or "2026-11-27 18:00"
	To       string         `json:",omitempty"` // the same; of a date alone the whole day belongs to it
	Days     []time.Weekday `json:",omitempty"` // sorted, Monday first
	Start    string         `json:",omitempty"` // "18:00"
	End      string         `json:",omitempty"` // "24:00" at the latest; if not after Start, on the next day
}

// Weekly reports whether it comes every week.
func (f Freeze) Weekly() bool { return len(f.Days) > 0 }

// String is the freeze in a line: "Black Friday: 2026-11-27 to 2026-11-30 08:00 America/Sao_Paulo".
func (f Freeze) String() string {
	if !f.Weekly() {
		return fmt.Sprintf("%s: %s to %s %s", f.Name, f.From, f.To, f.TimeZone)
	}
	var days []string
	for _, d := range f.Days {
		days = append(days, d.String()[:3])
	}
	return fmt.Sprintf("%s: %s %s-%s %s", f.Name, strings.Join(days, ","), f.Start, f.End, f.TimeZone)
}

// Window is a time from its Begin on until before its End.
type Window struct{ Begin, End time.Time }

// Holds reports whether t is within w.
func (w Window) Holds(t time.Time) bool { return !t.Before(w.Begin) && t.Before(w.End) }

// Validate checks f and returns the form to keep; at is where it stands in the request.
func (f Freeze) Validate(at string) (Freeze, error) {
	var err error
	if f.Name, err = CheckTitle(at+".name", f.Name); err != nil {
		return f, err
	}
	if err := checkText(at+".reason", f.Reason, ""); err != nil {
		return f, err
	}
	if err := checkLength(at+".reason", f.Reason, 500); err != nil {
		return f, err
	}
	if _, err := zone(f.TimeZone); err != nil {
		return f, fault.Invalid(at+".time_zone", "there is no time zone %s", quote(f.TimeZone)).
			WithFix("use a name of the IANA database, such as America/Sao_Paulo or UTC")
	}
	once, weekly := f.From != "" || f.To != "", f.Weekly() || f.Start != "" || f.End != ""
	switch {
	case once && weekly:
		return f, fault.Invalid(at, "it is both once and every week").WithFix("give from and to, or days, start and end")
	case once:
		return f, f.checkOnce(at)
	case !f.Weekly():
		return f, fault.Invalid(at, "it has no time").WithFix("give from and to, or days, start and end")
	}
	return f.checkWeekly(at)
}

const useMoment = `write "2026-11-27" or "2026-11-27 18:00"`

func (f Freeze) checkOnce(at string) error {
	if _, _, err := parseMoment(f.From); err != nil {
		return fault.Invalid(at+".from", "%s is no date", quote(f.From)).WithFix(useMoment)
	}
	if _, _, err := parseMoment(f.To); err != nil {
		return fault.Invalid(at+".to", "%s is no date", quote(f.To)).WithFix(useMoment)
	}
	if w, ok := f.once(); !ok || !w.Begin.Before(w.End) {
		return fault.Invalid(at+".to", "it ends %s, before it begins", quote(f.To)).WithFix("let it end after %s", f.From)
	}
	return nil
}

const useClock = `write hours and minutes, "00:00" to "23:59"`

func (f Freeze) checkWeekly(at string) (Freeze, error) {
	f.Days = slices.Clone(f.Days)
	slices.SortFunc(f.Days, func(a, b time.Weekday) int { return int((a+6)%7) - int((b+6)%7) })
	f.Days = slices.Compact(f.Days)
	for _, d := range f.Days {
		if d < time.Sunday || d > time.Saturday {
			return f, fault.Invalid(at+".days", "%d is no day of the week", int(d)).WithFix("use Monday to Sunday")
		}
	}
	if m, ok := parseClock(f.Start); !ok || m == day {
		return f, fault.Invalid(at+".start", "%s is no time of day", quote(f.Start)).WithFix(useClock)
	}
	if m, ok := parseClock(f.End); !ok || m == 0 {
		return f, fault.Invalid(at+".end", "%s is no time of day to end at", quote(f.End)).WithFix(`write hours and minutes, "00:01" to "24:00"`)
	}
	return f, nil
}

// around are the windows of f near t: the one that holds t, if any, and the one after it, if it is near.
func (f Freeze) around(t time.Time) []Window {
	if !f.Weekly() {
		w, ok := f.once()
		if !ok {
			return nil
		}
		return []Window{w}
	}
	loc, err := zone(f.TimeZone)
	start, ok := parseClock(f.Start)
	end, fine := parseClock(f.End)
	if err != nil || !ok || !fine {
		return nil
	}
	if end <= start {
		end += day
	}
	year, month, today := t.In(loc).Date()
	var out []Window
	for offset := -2; offset <= 8; offset++ {
		date := time.Date(year, month, today+offset, 0, 0, 0, 0, time.UTC)
		if slices.Contains(f.Days, date.Weekday()) {
			first, _ := wall(date.Add(time.Duration(start)*time.Minute), loc)
			_, last := wall(date.Add(time.Duration(end)*time.Minute), loc)
			out = append(out, Window{first, last})
		}
	}
	return out
}

func (f Freeze) once() (Window, bool) {
	loc, err := zone(f.TimeZone)
	from, _, badFrom := parseMoment(f.From)
	to, dateOnly, badTo := parseMoment(f.To)
	if err != nil || badFrom != nil || badTo != nil {
		return Window{}, false
	}
	if dateOnly {
		to = to.AddDate(0, 0, 1)
	}
	begin, _ := wall(from, loc)
	_, end := wall(to, loc)
	return Window{begin, end}, true
}

// At is the window of f that holds t.
func (f Freeze) At(t time.Time) (Window, bool) {
	var found Window
	for _, w := range f.around(t) {
		if w.Holds(t) && w.End.After(found.End) {
			found = w
		}
	}
	return found, !found.End.IsZero()
}

// Next is when f begins next, after t; zero if it never does again.
func (f Freeze) Next(t time.Time) time.Time {
	var next time.Time
	for _, w := range f.around(t) {
		if w.Begin.After(t) && (next.IsZero() || w.Begin.Before(next)) {
			next = w.Begin
		}
	}
	return next
}

// wall are the first and the last moment at which a clock in loc shows what clock shows in UTC. Where no clock there ever
// shows that, they are what the clock would have shown without being turned, and with being turned before.
func wall(clock time.Time, loc *time.Location) (first, last time.Time) {
	const far = 25 * time.Hour // no zone turns its clocks twice within two days, and none is further from UTC
	offset := func(t time.Time) time.Duration {
		_, seconds := t.In(loc).Zone()
		return time.Duration(seconds) * time.Second
	}
	a, b := clock.Add(-offset(clock.Add(-far))), clock.Add(-offset(clock.Add(far)))
	shows := func(t time.Time) bool { return t.Add(offset(t)).Equal(clock) }
	switch {
	case shows(a) && !shows(b):
		return a, a
	case shows(b) && !shows(a):
		return b, b
	case a.After(b):
		return b, a
	}
	return a, b
}

// zone is a time zone by its name. The name of the host's own is none: it is another on each server.
func zone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fault.Invalid("time_zone", "it is missing")
	}
	return time.LoadLocation(name)
}

// parseMoment reads "2026-11-27" or "2026-11-27 18:00" as UTC, and whether it is a date alone.
func parseMoment(s string) (t time.Time, dateOnly bool, err error) {
	if t, err = time.Parse(time.DateOnly, s); err == nil {
		return t, true, nil
	}
	t, err = time.Parse("2006-01-02 15:04", strings.Replace(s, "T", " ", 1))
	return t, false, err
}

const day = 24 * 60 // minutes

// parseClock reads "18:00" as minutes since midnight; "24:00" is the end of the day.
func parseClock(s string) (minutes int, ok bool) {
	if s == "24:00" {
		return day, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == len("15:04")
}
