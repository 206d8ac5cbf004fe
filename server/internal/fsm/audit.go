package fsm

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// was notes for the audit log what was before the change: a domain value (its Audited lists what is shown, so that a secret
// cannot get there), or a small map without secrets. Of what was and is alike only the difference is written. Deletes have
// only a before, what is new has only an after. Several calls add up.
func (c *change) was(v any) {
	if c.actor.Action != "" {
		c.before = noted(c.before, v)
	}
}

// is notes what is after the change; see was.
func (c *change) is(v any) {
	if c.actor.Action != "" {
		c.after = noted(c.after, v)
	}
}

// notable marks the change as one to look at twice: a grant, for example, where the same action is mostly none.
func (c *change) notable() { c.weight = gestor.AuditNotice }

func noted(before map[string]any, v any) map[string]any {
	var shown map[string]any
	switch v := v.(type) {
	case gestor.Audited:
		shown = v.Audited()
	case map[string]any:
		shown = v
	default: // what has no such form stays hidden
		shown = map[string]any{"kind": fmt.Sprintf("%T", v)}
	}
	if before == nil {
		before = map[string]any{}
	}
	maps.Copy(before, shown)
	return before
}

// audit writes the entry of a command that was carried out or refused.
func (c *change) audit(cmd command.Command, refusal *fault.Error) error {
	a := gestor.AuditEntry{
		TenantID:  c.tenant,
		At:        c.at,
		Actor:     cmd.Actor,
		Action:    cmd.Actor.Action,
		Object:    c.object,
		Detail:    c.auditDetail(refusal),
		RequestID: cmd.RequestID,
	}
	if !c.atLeast(2) {
		a.Actor.TokenID, a.Actor.Reference, a.Actor.Operator, a.Actor.Severity = "", "", false, "" // servers of level 1 do not know them
		return c.PutAudit(c.ctx, a)
	}
	a.Severity, a.Outcome = c.severity(), gestor.OutcomeDone
	a.Actor.Severity = ""
	if refusal != nil {
		a.Severity, a.Outcome = gestor.AuditWarning, gestor.OutcomeRefused
		return c.PutAudit(c.ctx, a)
	}
	before, after := difference(c.before, c.after)
	a.Before, a.After = auditJSON(before), auditJSON(after)
	return c.PutAudit(c.ctx, a)
}

func (c *change) severity() gestor.AuditSeverity {
	known := gestor.AuditSeverities()
	return known[max(0, slices.Index(known, c.actor.Severity), slices.Index(known, c.weight))]
}

func (c *change) auditDetail(refusal *fault.Error) string {
	detail := c.detail
	if refusal != nil {
		detail = map[string]any{"refused": refusal.Error()}
	}
	return auditJSON(detail)
}

// auditJSON is a map as JSON with sorted keys; empty for an empty one.
func auditJSON(m map[string]any) string {
	if len(m) == 0 {
		return ""
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("what the audit log shows is plain data: %v", err))
	}
	return string(b)
}

// difference leaves out what is empty, and of a change what is alike, and cuts what is too long.
func difference(before, after map[string]any) (was, is map[string]any) {
	change := before != nil && after != nil
	was, is = map[string]any{}, map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if v := before[key]; !change && !empty(v) || change && !alike(v, after[key]) {
			was[key] = cut(v)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if v := after[key]; !change && !empty(v) || change && !alike(v, before[key]) {
			is[key] = cut(v)
		}
	}
	return was, is
}

func empty(v any) bool {
	r := reflect.ValueOf(v)
	if !r.IsValid() {
		return true
	}
	switch r.Kind() {
	case reflect.Slice, reflect.Map:
		return r.Len() == 0
	default:
		return r.IsZero()
	}
}

func alike(a, b any) bool { return empty(a) && empty(b) || reflect.DeepEqual(a, b) }

// The most that an entry shows of one value.
const (
	mostText  = 500 // bytes
	mostItems = 50
)

// cut shortens long text and long lists. What is left says that it is not all.
func cut(v any) any {
	r := reflect.ValueOf(v)
	switch {
	case !r.IsValid():
		return nil
	case r.Kind() == reflect.String && r.Len() > mostText:
		n := mostText
		for text := r.String(); !utf8.RuneStart(text[n]); {
			n--
		}
		return r.String()[:n] + "…"
	case r.Kind() == reflect.Slice && r.Len() > mostItems:
		var out []any
		for i := range mostItems {
			out = append(out, cut(r.Index(i).Interface()))
		}
		return append(out, fmt.Sprintf("and %d more", r.Len()-mostItems))
	case r.Kind() == reflect.Slice:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = cut(r.Index(i).Interface())
		}
		return out
	}
	return v
}
