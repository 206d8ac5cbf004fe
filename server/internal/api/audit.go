package api

import (
	"context"
	"encoding/hex"
	"io"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/audit"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// AuditDeps are what the audit service needs; all of it.
type AuditDeps struct {
	Engine Engine
	Blobs  audit.Blobs // with the archived years
}

// AuditService shows who did what.
type AuditService struct{ deps AuditDeps }

var _ gestorv1connect.AuditServiceHandler = (*AuditService)(nil)

// NewAuditService makes the service.
func NewAuditService(d AuditDeps) *AuditService { return &AuditService{deps: d} }

// auditReach is the reach of a caller over the tenant's audit log. An entry may be about anything, so whoever is kept to some
// apps has none.
func auditReach(ctx context.Context, e Engine) (reach, error) {
	r, err := reachOf(ctx, e)
	if err == nil && len(r.view.Scope().Narrow) > 0 {
		err = fault.Denied("the audit log is not divided by apps, and you are kept to some").WithFix("ask an admin of your tenant")
	}
	return r, err
}

// ListAudit lists entries of the tenant, newest first.
func (s *AuditService) ListAudit(ctx context.Context, req *gestorv1.ListAuditRequest) (*gestorv1.ListAuditResponse, error) {
	r, err := auditReach(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	found, next, err := r.view.SearchAudit(ctx, auditFilterIn(req.GetFilter()), pageIn(req.GetPage()))
	return &gestorv1.ListAuditResponse{Entries: auditEntriesOut(found), Page: pageOut(next)}, err
}

// ListPlatformAudit lists entries of the installation and all tenants, newest first.
func (s *AuditService) ListPlatformAudit(ctx context.Context, req *gestorv1.ListPlatformAuditRequest) (*gestorv1.ListPlatformAuditResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	f := auditFilterIn(req.GetFilter())
	f.Tenant = gestor.TenantID(req.GetTenantId())
	found, next, err := r.view.SearchAudit(ctx, f, pageIn(req.GetPage()))
	out := &gestorv1.ListPlatformAuditResponse{Page: pageOut(next)}
	for _, a := range found {
		line := a.Line()
		if r.shown(f, &line) {
			out.Entries = append(out.Entries, auditLineOut(&line))
		}
	}
	return out, err
}

// shown masks what an operator may not see of an entry, and reports whether the filter still chooses what is left: otherwise one
// could ask for what is hidden and learn from the answer that it is there.
func (r reach) shown(f state.AuditFilter, l *auditlog.Line) bool {
	own := l.Tenant == string(r.caller.Tenant) && r.caller.May(gestorv1.Permission_PERMISSION_AUDIT_READ)
	if l.Tenant == "" || own || l.Operator {
		return true
	}
	audit.Mask(l)
	return f.Chooses(l)
}

// WatchAudit sends entries of the tenant as they are written.
func (s *AuditService) WatchAudit(ctx context.Context, req *gestorv1.WatchAuditRequest, stream *connect.ServerStream[gestorv1.WatchAuditResponse]) error {
	r, err := auditReach(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	f := auditFilterIn(req.GetFilter())
	seq := req.GetAfterSeq()
	if seq == 0 {
		if seq, err = r.view.LastAuditSeq(ctx); err != nil {
			return err
		}
		if err := r.sendLast(ctx, f, int(req.GetLast()), seq, stream); err != nil {
			return err
		}
	}
	return follow(ctx, s.deps.Engine, func() (bool, error) {
		for {
			found, upTo, err := r.view.FollowAudit(ctx, f, seq, maxPage)
			if err != nil || upTo == seq {
				return false, err
			}
			seq = upTo
			if len(found) == 0 {
				continue
			}
			if err := stream.Send(&gestorv1.WatchAuditResponse{Entries: auditEntriesOut(found)}); err != nil {
				return false, err
			}
		}
	}, state.Audit)
}

// sendLast sends the newest entries up to a seq, as many as were asked for.
func (r reach) sendLast(ctx context.Context, f state.AuditFilter, n int, seq int64, stream *connect.ServerStream[gestorv1.WatchAuditResponse]) error {
	var last []gestor.AuditEntry
	page := gestor.Page{Size: n}
	for n > len(last) {
		found, next, err := r.view.SearchAudit(ctx, f, page)
		if err != nil {
			return err
		}
		for _, a := range found {
			if a.Seq <= seq && len(last) < n {
				last = append(last, a)
			}
		}
		if page.Token = next; next == "" {
			break
		}
	}
	if len(last) == 0 {
		return nil
	}
	slices.Reverse(last)
	return stream.Send(&gestorv1.WatchAuditResponse{Entries: auditEntriesOut(last)})
}

// ExportAudit sends all entries of the tenant as a file.
func (s *AuditService) ExportAudit(ctx context.Context, req *gestorv1.ExportAuditRequest, stream *connect.ServerStream[gestorv1.ExportAuditResponse]) error {
	r, err := auditReach(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	f := auditFilterIn(req.GetFilter())
	f.Tenant, f.Year = r.caller.Tenant, int(req.GetYear())
	if err := r.recordRead(ctx, "", map[string]any{"year": f.Year}); err != nil {
		return err
	}
	return s.export(ctx, r, f, req.GetFormat(), func(*auditlog.Line) bool { return true }, func(data []byte, entries int64) error {
		return stream.Send(&gestorv1.ExportAuditResponse{Data: data, Entries: entries})
	})
}

// ExportPlatformAudit sends entries of the installation and all tenants as a file.
func (s *AuditService) ExportPlatformAudit(ctx context.Context, req *gestorv1.ExportPlatformAuditRequest, stream *connect.ServerStream[gestorv1.ExportPlatformAuditResponse]) error {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	f := auditFilterIn(req.GetFilter())
	f.Tenant, f.Year = gestor.TenantID(req.GetTenantId()), int(req.GetYear())
	if err := r.recordRead(ctx, "", map[string]any{"year": f.Year, "all": true}); err != nil {
		return err
	}
	return s.export(ctx, r, f, req.GetFormat(), func(l *auditlog.Line) bool { return r.shown(f, l) }, func(data []byte, entries int64) error {
		return stream.Send(&gestorv1.ExportPlatformAuditResponse{Data: data, Entries: entries})
	})
}

func (s *AuditService) export(ctx context.Context, r reach, f state.AuditFilter, format gestorv1.AuditFormat, shown func(*auditlog.Line) bool, send func([]byte, int64) error) error {
	years, err := s.deps.Engine.View(gestor.SystemScope()).AuditYears(ctx) // which are archived is no secret
	if err != nil {
		return err
	}
	pieces := &auditPieces{send: send}
	out := audit.NewJSONL(pieces)
	if format == gestorv1.AuditFormat_AUDIT_FORMAT_CSV {
		out = audit.NewCSV(pieces)
	}
	err = audit.Each(ctx, r.view, years, s.deps.Blobs, f, func(l *auditlog.Line) error {
		if !shown(l) {
			return nil
		}
		pieces.entries++
		return out.Write(l)
	})
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return pieces.flush()
}

// auditPieces sends what is written to it, some at a time.
type auditPieces struct {
	send    func(data []byte, entries int64) error
	held    []byte
	entries int64
}

const auditPiece = 64 << 10

var _ io.Writer = (*auditPieces)(nil)

func (p *auditPieces) Write(b []byte) (int, error) {
	if p.held = append(p.held, b...); len(p.held) < auditPiece {
		return len(b), nil
	}
	return len(b), p.flush()
}

func (p *auditPieces) flush() error {
	err := p.send(p.held, p.entries)
	p.held = nil
	return err
}

// VerifyAudit checks the chain of hashes over all entries.
func (s *AuditService) VerifyAudit(ctx context.Context, req *gestorv1.VerifyAuditRequest, stream *connect.ServerStream[gestorv1.VerifyAuditResponse]) error {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	noted, err := auditHeadIn(req.GetHead())
	if err != nil {
		return err
	}
	var last audit.Progress
	var first auditlog.Problem
	err = audit.Check(ctx, r.view, s.deps.Blobs, noted, func(p audit.Progress) error {
		if first.What == "" && len(p.Problems) > 0 {
			first = p.Problems[0]
		}
		last = p
		return stream.Send(auditProgressOut(p, false))
	})
	if err != nil {
		return err
	}
	if last.Count > 0 {
		if err := r.recordDamage(ctx, first, last.Count); err != nil {
			return err
		}
	}
	last.Problems = nil
	return stream.Send(auditProgressOut(last, true))
}

// actionDamage is the action of the entry that tells of a chain that is not whole.
const actionDamage = "audit.damage"

func (r reach) recordDamage(ctx context.Context, first auditlog.Problem, count int64) error {
	r.caller.Actor.Action = actionDamage
	return r.record(ctx, gestor.AuditEntry{Severity: gestor.AuditCritical, Outcome: gestor.OutcomeDone}, map[string]any{
		"problems": count, "first": first.Seq, "what": first.What,
	})
}

// record writes an entry in the caller's name about something that changes nothing.
func (r reach) record(ctx context.Context, a gestor.AuditEntry, detail map[string]any) error {
	now := time.Now()
	a.At, a.Actor, a.Action, a.Detail = now, r.caller.Actor, r.caller.Actor.Action, audit.Detail(detail)
	quiet := r.caller.Actor
	quiet.Action = "" // the entry is the op's
	_, err := r.engine.Propose(ctx, command.Command{At: now, Actor: quiet, Op: command.RecordAudit{Entries: []gestor.AuditEntry{a}}})
	return err
}

// ListAuditYears lists the years of the audit log.
func (s *AuditService) ListAuditYears(ctx context.Context, _ *gestorv1.ListAuditYearsRequest) (*gestorv1.ListAuditYearsResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	years, err := r.view.AuditYears(ctx)
	out := &gestorv1.ListAuditYearsResponse{}
	for _, y := range years {
		out.Years = append(out.Years, &gestorv1.AuditYear{
			Year: int32(y.Year), FirstSeq: y.FirstSeq, LastSeq: y.LastSeq, Entries: y.Entries, Head: hex.EncodeToString(y.Head),
			Digest: y.Digest, Bytes: y.Bytes, ArchivedAt: timeOut(y.ArchivedAt),
		})
	}
	return out, err
}
