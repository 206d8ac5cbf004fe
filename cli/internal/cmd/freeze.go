package cmd

import (
	"os"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const freezeForms = `write "Black Friday: 2026-11-27 to 2026-11-30 08:00" or "Weekend: fri-sun 18:00-24:00"; a time zone may follow`

// parseFreeze reads "NAME: FROM to TO [ZONE]" or "NAME: DAYS START-END [ZONE]". The server checks dates, times and zones.
func parseFreeze(text, zone, reason string) (*gestorv1.Freeze, error) {
	name, when, ok := cutLast(text, ": ")
	words := strings.Fields(when)
	if !ok || len(words) < 2 {
		return nil, fault.Invalid("--freeze", "%q is no freeze", text).WithFix(freezeForms)
	}
	f := &gestorv1.Freeze{Name: strings.TrimSpace(name), TimeZone: zone, Reason: reason}
	if last := words[len(words)-1]; isZone(last) {
		f.TimeZone, words = last, words[:len(words)-1]
	}
	if to := slices.Index(words, "to"); to > 0 {
		f.From, f.To = strings.Join(words[:to], " "), strings.Join(words[to+1:], " ")
	} else if err := everyWeek(f, words); err != nil {
		return nil, err
	}
	if f.GetTimeZone() == "" {
		return nil, fault.Invalid("--freeze", "the time zone of %q is not known here", f.GetName()).
			WithFix("add it at the end, or as --time-zone: America/Sao_Paulo")
	}
	return f, nil
}

func everyWeek(f *gestorv1.Freeze, words []string) error {
	if len(words) != 2 {
		return fault.Invalid("--freeze", "%q is neither dates nor days of the week", strings.Join(words, " ")).WithFix(freezeForms)
	}
	days, err := parseWeekdays(words[0])
	if err != nil {
		return err
	}
	f.Days = days
	if f.Start, f.End, _ = strings.Cut(words[1], "-"); f.GetEnd() == "" {
		return fault.Invalid("--freeze", "%q has no end", words[1]).WithFix(freezeForms)
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// isZone tells a time zone from a time: "UTC", "America/Sao_Paulo".
func isZone(word string) bool {
	return word != "" && strings.Trim(word[:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && (strings.Contains(word, "/") || !isDay(word))
}

var weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func isDay(word string) bool {
	return len(word) >= 3 && slices.Contains(weekdays, strings.ToLower(word[:3]))
}

// parseWeekdays reads "mon,wed" and "fri-sun", which may go over the end of the week.
func parseWeekdays(text string) ([]gestorv1.Weekday, error) {
	var days []gestorv1.Weekday
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if from < 0 || to < 0 {
			return nil, fault.Invalid("--freeze", "%q is no day of the week", part).WithFix("use mon, tue, wed, thu, fri, sat, sun")
		}
		for i := from; ; i = (i + 1) % len(weekdays) {
			days = append(days, gestorv1.Weekday(i+1))
			if i == to {
				break
			}
		}
	}
	return days, nil
}

// freezeText is the freeze as parseFreeze takes it.
func freezeText(f *gestorv1.Freeze) string {
	if len(f.GetDays()) == 0 {
		return f.GetName() + ": " + f.GetFrom() + " to " + f.GetTo() + " " + f.GetTimeZone()
	}
	var days []string
	for _, d := range f.GetDays() {
		days = append(days, output.Enum(d, "WEEKDAY_")[:3])
	}
	return f.GetName() + ": " + strings.Join(days, ",") + " " + f.GetStart() + "-" + f.GetEnd() + " " + f.GetTimeZone()
}

// localZone is the name of this host's time zone; empty if it cannot be told.
func (r *run) localZone() string {
	if tz := strings.TrimPrefix(r.env.Getenv("TZ"), ":"); tz != "" {
		return tz
	}
	link, err := os.Readlink("/etc/localtime")
	if err != nil {
		return ""
	}
	_, name, _ := strings.Cut(link, "zoneinfo/")
	return name
}
