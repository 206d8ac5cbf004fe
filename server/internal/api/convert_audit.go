package api

import (
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/audit"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

var auditSeverities = map[gestor.AuditSeverity]gestorv1.AuditSeverity{
	gestor.AuditInfo:     gestorv1.AuditSeverity_AUDIT_SEVERITY_INFO,
	gestor.AuditNotice:   gestorv1.AuditSeverity_AUDIT_SEVERITY_NOTICE,
	gestor.AuditWarning:  gestorv1.AuditSeverity_AUDIT_SEVERITY_WARNING,
	gestor.AuditCritical: gestorv1.AuditSeverity_AUDIT_SEVERITY_CRITICAL,
}

var auditOutcomes = map[string]gestorv1.AuditOutcome{
	gestor.OutcomeDone:    gestorv1.AuditOutcome_AUDIT_OUTCOME_DONE,
	gestor.OutcomeRefused: gestorv1.AuditOutcome_AUDIT_OUTCOME_REFUSED,
}

func auditFilterIn(m *gestorv1.AuditFilter) state.AuditFilter {
	f := state.AuditFilter{
		From: momentIn(m.GetFrom()), To: momentIn(m.GetTo()), Actor: m.GetActor(), Action: m.GetAction(), Object: m.GetObject(), Token: gestor.TokenID(m.GetTokenId()),
	}
	for s, v := range auditSeverities {
		if v == m.GetSeverity() {
			f.Severity = s
		}
	}
	for o, v := range auditOutcomes {
		if v == m.GetOutcome() {
			f.Outcome = o
		}
	}
	return f
}

func momentIn(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}

func auditHeadIn(m *gestorv1.AuditHead) (*audit.Head, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // no head was noted
	}
	hash, err := hex.DecodeString(m.GetHash())
	if err != nil || len(hash) != auditlog.Size || m.GetSeq() <= 0 {
		return nil, fault.Invalid("head", "it is no head of the audit log").WithFix("write it as it was printed, SEQ:HASH")
	}
	return &audit.Head{Seq: m.GetSeq(), Hash: hash}, nil
}

func auditEntriesOut(entries []gestor.AuditEntry) []*gestorv1.AuditEntry {
	out := make([]*gestorv1.AuditEntry, len(entries))
	for i, a := range entries {
		line := a.Line()
		out[i] = auditLineOut(&line)
	}
	return out
}

func auditLineOut(l *auditlog.Line) *gestorv1.AuditEntry {
	return &gestorv1.AuditEntry{
		Seq: l.Seq, Year: int32(l.Year), At: timestamppb.New(l.At), TenantId: l.Tenant,
		Actor: &gestorv1.AuditActor{
			Kind: l.Kind, Id: l.Actor, Name: l.Name, SessionId: l.Session, TokenId: l.Token, Address: l.Address, UserAgent: l.UserAgent,
			Reference: l.Reference, Operator: l.Operator,
		},
		Action: l.Action, Object: l.Object, Severity: auditSeverities[gestor.AuditSeverity(l.Severity)], Outcome: auditOutcomes[l.Outcome],
		Detail: string(l.Detail), Before: string(l.Before), After: string(l.After), RequestId: l.Request,
		PreviousHash: l.Previous.String(), Hash: l.Hash.String(), Masked: l.Masked,
	}
}

func auditProgressOut(p audit.Progress, done bool) *gestorv1.VerifyAuditResponse {
	out := &gestorv1.VerifyAuditResponse{Checked: p.Checked, Total: p.Total, Without: p.Without, ProblemCount: p.Count, Done: done}
	for _, problem := range p.Problems {
		out.Problems = append(out.Problems, &gestorv1.AuditProblem{Seq: problem.Seq, What: problem.What})
	}
	if done && len(p.Head.Hash) > 0 {
		out.Head = &gestorv1.AuditHead{Seq: p.Head.Seq, Hash: p.Head.Hash.String()}
	}
	return out
}
