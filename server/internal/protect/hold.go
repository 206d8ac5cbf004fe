package protect

import (
	"fmt"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Hold is what keeps a deployment from its switch at a moment. The zero Hold keeps nothing.
type Hold struct {
	Missing int       // people who must still approve
	Freeze  Frozen    // the freeze that holds it; zero if none does
	Reason  string    // both, for people; empty if it may switch
	Next    time.Time // when the answer may be another although nothing changed; zero if it may not
}

// Waits reports whether it may not switch.
func (h Hold) Waits() bool { return h.Reason != "" }

// Frozen is a freeze at work.
type Frozen struct {
	Environment string
	gestor.Freeze
	Until time.Time // when nothing is frozen any more; zero if that is not in sight
}

// Hold judges the case at now.
func (c Case) Hold(now time.Time) Hold {
	h := Hold{Missing: c.Missing()}
	var why []string
	if h.Missing > 0 {
		why = append(why, c.waitsForApproval(h.Missing))
		h.Next = c.Expires()
	}
	freeze, frozen := c.frozen(now)
	if frozen {
		h.Freeze = freeze
		why = append(why, freeze.text(now))
		h.Next = earlier(h.Next, freeze.Until)
	} else {
		h.Next = earlier(h.Next, c.ClearUntil(now))
	}
	h.Reason = strings.Join(why, "; ")
	return h
}

// Expires is when it is cancelled unless it is approved; zero while nobody has been asked.
func (c Case) Expires() time.Time {
	if c.Deployment.ApprovalAskedAt.IsZero() {
		return time.Time{}
	}
	return c.Deployment.ApprovalAskedAt.Add(gestor.ApprovalTime)
}

func (c Case) waitsForApproval(missing int) string {
	who := "one more person"
	if missing > 1 {
		who = fmt.Sprintf("%d more people", missing)
	}
	return fmt.Sprintf("waits for the approval of %s (asked by %s; may approve: %s)", who, c.Deployment.CreatedBy, roles(", "))
}

// frozen is the freeze that holds the deployment longest of those that hold it now, with the moment at which all that
// follow upon each other are over.
func (c Case) frozen(now time.Time) (Frozen, bool) {
	freezes := c.freezes()
	found, end := longest(freezes, now)
	if end.IsZero() {
		return Frozen{}, false
	}
	const most = 400 // windows one after the other: more than a year of days
	for range most {
		_, later := longest(freezes, end)
		if later.IsZero() {
			found.Until = end
			return found, true
		}
		end = later
	}
	return found, true
}

// longest is the freeze that holds at t and ends last, with its end.
func longest(freezes []Frozen, t time.Time) (found Frozen, end time.Time) {
	for _, f := range freezes {
		if w, ok := f.At(t); ok && w.End.After(end) {
			found, end = f, w.End
		}
	}
	return found, end
}

// freezes are all that bind the deployment.
func (c Case) freezes() []Frozen {
	if c.Deployment.Override.By != "" {
		return nil
	}
	var all []Frozen
	for _, p := range c.applies() {
		for _, f := range p.Freezes {
			all = append(all, Frozen{Environment: p.Environment, Freeze: f})
		}
	}
	return all
}

// ClearUntil is when the next freeze begins after now, when there is none; zero if none does.
func (c Case) ClearUntil(now time.Time) time.Time {
	var next time.Time
	for _, f := range c.freezes() {
		next = earlier(next, f.Next(now))
	}
	return next
}

// text is the freeze for people: "production is frozen until Mon 08:00 (America/Sao_Paulo): Black Friday".
func (f Frozen) text(now time.Time) string {
	why := f.Name
	if f.Reason != "" {
		why += ", " + f.Reason
	}
	if f.Until.IsZero() {
		return fmt.Sprintf("%s is frozen with no end in sight: %s", f.Environment, why)
	}
	return fmt.Sprintf("%s is frozen until %s (%s): %s", f.Environment, f.shown(now), f.TimeZone, why)
}

// shown is the end of the freeze in its own time zone, with the date where the day of the week would not do.
func (f Frozen) shown(now time.Time) string {
	until := f.Until
	if loc, err := time.LoadLocation(f.TimeZone); err == nil {
		until = until.In(loc)
	}
	if until.Sub(now) < 6*24*time.Hour {
		return until.Format("Mon 15:04")
	}
	return until.Format("Mon 2 Jan 2006 15:04")
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
