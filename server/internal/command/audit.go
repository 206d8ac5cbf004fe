package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// RecordAudit writes entries about what changed nothing. Of each entry TenantID, At, Actor with its Action, Object, Severity,
// Outcome and Detail count.
type RecordAudit struct{ Entries []gestor.AuditEntry }

func (RecordAudit) needs() uint32 { return 2 }

func (op RecordAudit) encode(m *raftv1.Command) error {
	out := &raftv1.RecordAudit{}
	for _, a := range op.Entries {
		out.Records = append(out.Records, &raftv1.AuditRecord{
			TenantId: string(a.TenantID),
			At:       stamp(a.At),
			Actor:    encodeActor(a.Actor),
			Object:   a.Object,
			Severity: string(a.Severity),
			Outcome:  a.Outcome,
			Detail:   a.Detail,
		})
	}
	m.Op = &raftv1.Command_RecordAudit{RecordAudit: out}
	return nil
}

func decodeRecordAudit(m *raftv1.RecordAudit) RecordAudit {
	var op RecordAudit
	for _, r := range m.GetRecords() {
		op.Entries = append(op.Entries, gestor.AuditEntry{
			TenantID: gestor.TenantID(r.GetTenantId()),
			At:       moment(r.GetAt()),
			Actor:    decodeActor(r.GetActor()),
			Action:   r.GetActor().GetAction(),
			Object:   r.GetObject(),
			Severity: gestor.AuditSeverity(r.GetSeverity()),
			Outcome:  r.GetOutcome(),
			Detail:   r.GetDetail(),
		})
	}
	return op
}

// ArchiveAudit says that a year of the audit log is in an artifact. What counts of it is the number, Digest, Bytes, Entries and Head count.
type ArchiveAudit struct{ Year gestor.AuditYear }

func (ArchiveAudit) needs() uint32 { return 2 }

func (op ArchiveAudit) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ArchiveAudit{ArchiveAudit: &raftv1.ArchiveAudit{
		Year:    int32(op.Year.Year),
		Digest:  op.Year.Digest,
		Bytes:   op.Year.Bytes,
		Entries: op.Year.Entries,
		Head:    op.Year.Head,
	}}
	return nil
}

// DropAudit removes up to Most entries of a year that is archived.
type DropAudit struct{ Year, Most int }

func (DropAudit) needs() uint32 { return 2 }

func (op DropAudit) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DropAudit{DropAudit: &raftv1.DropAudit{
		Year: int32(op.Year),
		Most: int32(op.Most),
	}}
	return nil
}

// decodeAuditOp reads the ops on the audit log.
func decodeAuditOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_RecordAudit:
		return decodeRecordAudit(op.RecordAudit), true
	case *raftv1.Command_ArchiveAudit:
		a := op.ArchiveAudit
		return ArchiveAudit{Year: gestor.AuditYear{
			Year: int(a.GetYear()), Digest: a.GetDigest(), Bytes: a.GetBytes(), Entries: a.GetEntries(), Head: a.GetHead(),
		}}, true
	case *raftv1.Command_DropAudit:
		return DropAudit{Year: int(op.DropAudit.GetYear()), Most: int(op.DropAudit.GetMost())}, true
	}
	return nil, false
}
