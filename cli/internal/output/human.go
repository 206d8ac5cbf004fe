package output

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Ago says how long before now t was: "3m ago". It is empty for no time.
func (p *Printer) Ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	d := p.Now().Sub(t.AsTime())
	switch {
	case d < 0:
		return "in " + span(-d)
	case d < time.Second:
		return "now"
	default:
		return span(d) + " ago"
	}
}

// span is d in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// Elapsed is d for a progress line: "340ms", "4.2s", "1m12s".
func Elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "0ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Truncate(time.Second).String()
	}
}

// Between is the time from start to end, to now while end is absent, and empty while start is.
func (p *Printer) Between(start, end *timestamppb.Timestamp) string {
	if start == nil {
		return ""
	}
	until := p.Now()
	if end != nil {
		until = end.AsTime()
	}
	return Elapsed(until.Sub(start.AsTime()))
}

// Bytes is n in binary units: "1.5 GiB"; empty for 0.
func Bytes[T int64 | uint64](n T) string {
	if n == 0 {
		return ""
	}
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	text := strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0")
	return text + " " + units[unit]
}

// Span is a duration setting; empty if it is not set.
func Span(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}

// Enum turns the name of an enum value into a word: "DEPLOYMENT_STATE_FAILED" with the prefix "DEPLOYMENT_STATE_" is
// "failed"; the zero value is empty.
func Enum(v fmt.Stringer, prefix string) string {
	word := strings.ToLower(strings.TrimPrefix(v.String(), prefix))
	if word == "unspecified" {
		return ""
	}
	return word
}

// Short is the first characters of a commit or digest.
func Short(hash string) string {
	if len(hash) > 8 {
		return hash[:8]
	}
	return hash
}
