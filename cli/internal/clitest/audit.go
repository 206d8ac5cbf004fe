package clitest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/auditlog"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type audits struct{ *Server }

// auditLines is an audit log with hashes that fit, the oldest entry first.
func auditLines() []auditlog.Line {
	at := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	lines := []auditlog.Line{
		{Action: "app.update", Object: "app_1", Severity: "info", Outcome: "done", Before: json.RawMessage(`{"port":80}`), After: json.RawMessage(`{"port":8080}`)},
		{Action: "env.reveal", Object: "app_1", Severity: "notice", Outcome: "done", Detail: json.RawMessage(`{"name":"KEY"}`)},
		{Action: "app.delete", Object: "app_1", Severity: "warning", Outcome: "refused", Detail: json.RawMessage(`{"reason":"permission"}`)},
	}
	var previous auditlog.Hash
	for i := range lines {
		l := &lines[i]
		l.Seq, l.Year, l.At, l.Tenant, l.Kind, l.Actor, l.Name = int64(i+1), 2026, at.Add(time.Duration(i)*time.Minute), "ten_1", "user", "usr_1", Email
		l.Form, l.Previous = auditlog.Form, previous
		previous, _ = l.Sum(previous)
		l.Hash = previous
	}
	return lines
}

func auditEntries() []*gestorv1.AuditEntry {
	var out []*gestorv1.AuditEntry
	for _, l := range auditLines() {
		outcome := gestorv1.AuditOutcome_AUDIT_OUTCOME_DONE
		if l.Outcome == "refused" {
			outcome = gestorv1.AuditOutcome_AUDIT_OUTCOME_REFUSED
		}
		out = append([]*gestorv1.AuditEntry{{
			Seq: l.Seq, Year: 2026, At: timestamppb.New(l.At), TenantId: l.Tenant, Actor: &gestorv1.AuditActor{Kind: l.Kind, Id: l.Actor, Name: l.Name},
			Action: l.Action, Object: l.Object, Severity: gestorv1.AuditSeverity(l.Seq), Outcome: outcome,
			Before: string(l.Before), After: string(l.After), Detail: string(l.Detail), Hash: l.Hash.String(),
		}}, out...)
	}
	return out
}

// ListAudit lists all entries.
func (h audits) ListAudit(context.Context, *gestorv1.ListAuditRequest) (*gestorv1.ListAuditResponse, error) {
	return &gestorv1.ListAuditResponse{Entries: auditEntries()}, nil
}

// ListPlatformAudit lists all entries, masked.
func (h audits) ListPlatformAudit(context.Context, *gestorv1.ListPlatformAuditRequest) (*gestorv1.ListPlatformAuditResponse, error) {
	entries := auditEntries()
	for _, e := range entries {
		e.Masked, e.Object, e.Actor.Name = true, "", ""
	}
	return &gestorv1.ListPlatformAuditResponse{Entries: entries}, nil
}

// WatchAudit sends the entries behind the one that was seen.
func (h audits) WatchAudit(_ context.Context, r *gestorv1.WatchAuditRequest, s *connect.ServerStream[gestorv1.WatchAuditResponse]) error {
	all := auditEntries()
	for i, e := range slices.Backward(all) {
		if e.GetSeq() <= r.GetAfterSeq() {
			continue
		}
		if err := s.Send(&gestorv1.WatchAuditResponse{Entries: all[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}

// ExportAudit sends the lines.
func (h audits) ExportAudit(_ context.Context, r *gestorv1.ExportAuditRequest, s *connect.ServerStream[gestorv1.ExportAuditResponse]) error {
	if r.GetFormat() == gestorv1.AuditFormat_AUDIT_FORMAT_CSV {
		return s.Send(&gestorv1.ExportAuditResponse{Data: []byte("seq,at\n1,2026\n"), Entries: 1})
	}
	for _, l := range auditLines() {
		var line bytes.Buffer
		if err := json.NewEncoder(&line).Encode(l); err != nil {
			return err
		}
		if err := s.Send(&gestorv1.ExportAuditResponse{Data: line.Bytes(), Entries: l.Seq}); err != nil {
			return err
		}
	}
	return nil
}

// ExportPlatformAudit sends nothing.
func (h audits) ExportPlatformAudit(_ context.Context, _ *gestorv1.ExportPlatformAuditRequest, s *connect.ServerStream[gestorv1.ExportPlatformAuditResponse]) error {
	return s.Send(&gestorv1.ExportPlatformAuditResponse{Data: []byte("{}\n"), Entries: 1})
}

// VerifyAudit finds all well, unless a head was noted that is none of the log.
func (h audits) VerifyAudit(_ context.Context, r *gestorv1.VerifyAuditRequest, s *connect.ServerStream[gestorv1.VerifyAuditResponse]) error {
	last := auditLines()[2]
	res := &gestorv1.VerifyAuditResponse{Checked: 3, Total: 3, Done: true, Head: &gestorv1.AuditHead{Seq: last.Seq, Hash: last.Hash.String()}}
	if r.GetHead() != nil && r.GetHead().GetHash() != last.Hash.String() {
		problem := &gestorv1.AuditProblem{Seq: 3, What: "its hash is not the one that was noted"}
		if err := s.Send(&gestorv1.VerifyAuditResponse{Checked: 2, Total: 3, Problems: []*gestorv1.AuditProblem{problem}, ProblemCount: 1}); err != nil {
			return err
		}
		res.ProblemCount = 1
	}
	return s.Send(res)
}

// ListAuditYears lists an archived year and one that is not.
func (h audits) ListAuditYears(context.Context, *gestorv1.ListAuditYearsRequest) (*gestorv1.ListAuditYearsResponse, error) {
	return &gestorv1.ListAuditYearsResponse{Years: []*gestorv1.AuditYear{
		{Year: 2020, FirstSeq: 1, LastSeq: 90, Entries: 90, Head: "aa11", Digest: "bb22", Bytes: 2048, ArchivedAt: timestamppb.New(time.Now())},
		{Year: 2026, FirstSeq: 91, LastSeq: 93, Entries: 3, Head: "cc33"},
	}}, nil
}
