package command

import (
	"time"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// UpdateProtection replaces the protection of an environment of the actor's tenant. Of Protection, who changed it when and
// its revision are filled in by the state machine.
type UpdateProtection struct {
	Protection       gestor.Protection
	ExpectedRevision uint64 // refused if the protection's revision is another; 0 takes any
}

func (UpdateProtection) needs() uint32 { return 2 }

func (op UpdateProtection) encode(m *raftv1.Command) error {
	p := op.Protection
	m.Op = &raftv1.Command_UpdateProtection{UpdateProtection: &raftv1.UpdateProtection{
		Environment:           p.Environment,
		RequireApproval:       p.RequireApproval,
		Approvals:             int32(p.Approvals),
		RollbackNeedsApproval: p.RollbackNeedsApproval,
		Freezes:               EncodeFreezes(p.Freezes),
		ExpectedRevision:      op.ExpectedRevision,
	}}
	return nil
}

func decodeUpdateProtection(m *raftv1.UpdateProtection) UpdateProtection {
	return UpdateProtection{ExpectedRevision: m.GetExpectedRevision(), Protection: gestor.Protection{
		Environment:           m.GetEnvironment(),
		RequireApproval:       m.GetRequireApproval(),
		Approvals:             int(m.GetApprovals()),
		RollbackNeedsApproval: m.GetRollbackNeedsApproval(),
		Freezes:               DecodeFreezes(m.GetFreezes()),
	}}
}

// EncodeFreezes turns freezes into the contract's form, which is also the replicated one.
func EncodeFreezes(in []gestor.Freeze) []*gestorv1.Freeze {
	var out []*gestorv1.Freeze
	for _, f := range in {
		m := &gestorv1.Freeze{
			Name: f.Name, Reason: f.Reason, TimeZone: f.TimeZone, From: f.From, To: f.To, Start: f.Start, End: f.End,
		}
		for _, d := range f.Days {
			m.Days = append(m.Days, encodeDay(d))
		}
		out = append(out, m)
	}
	return out
}

// DecodeFreezes is the way back.
func DecodeFreezes(in []*gestorv1.Freeze) []gestor.Freeze {
	var out []gestor.Freeze
	for _, m := range in {
		f := gestor.Freeze{
			Name: m.GetName(), Reason: m.GetReason(), TimeZone: m.GetTimeZone(), From: m.GetFrom(), To: m.GetTo(),
			Start: m.GetStart(), End: m.GetEnd(),
		}
		for _, d := range m.GetDays() {
			f.Days = append(f.Days, decodeDay(d))
		}
		out = append(out, f)
	}
	return out
}

// encodeDay and decodeDay: the contract counts from Monday, 1, to Sunday, 7, and has 0 for none; days that there are not
// stay such.
func encodeDay(d time.Weekday) gestorv1.Weekday {
	if d == time.Sunday {
		return gestorv1.Weekday_WEEKDAY_SUNDAY
	}
	return gestorv1.Weekday(d)
}

func decodeDay(d gestorv1.Weekday) time.Weekday {
	switch d { //nolint:exhaustive // the others have the numbers of package time
	case gestorv1.Weekday_WEEKDAY_SUNDAY:
		return time.Sunday
	case gestorv1.Weekday_WEEKDAY_UNSPECIFIED:
		return -1
	}
	return time.Weekday(d)
}

// HoldDeployment records why a prepared deployment may not switch yet. Approval says that people must approve it.
type HoldDeployment struct {
	ID       gestor.DeploymentID
	Waiting  string // for people; empty if it does not wait any more
	Approval bool
}

func (HoldDeployment) needs() uint32 { return 2 }

func (op HoldDeployment) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_HoldDeployment{HoldDeployment: &raftv1.HoldDeployment{
		Id: string(op.ID), Waiting: op.Waiting, Approval: op.Approval,
	}}
	return nil
}

// ApproveDeployment is the actor's word that a deployment may switch.
type ApproveDeployment struct {
	ID      gestor.DeploymentID
	Comment string
}

func (ApproveDeployment) needs() uint32 { return 2 }

func (op ApproveDeployment) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ApproveDeployment{ApproveDeployment: &raftv1.ApproveDeployment{Id: string(op.ID), Comment: op.Comment}}
	return nil
}

// RejectDeployment ends a deployment that has not switched anything.
type RejectDeployment struct {
	ID      gestor.DeploymentID
	Comment string // why
}

func (RejectDeployment) needs() uint32 { return 2 }

func (op RejectDeployment) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RejectDeployment{RejectDeployment: &raftv1.RejectDeployment{Id: string(op.ID), Comment: op.Comment}}
	return nil
}

// OverrideFreeze lets a deployment switch during freezes.
type OverrideFreeze struct {
	ID     gestor.DeploymentID
	Reason string
}

func (OverrideFreeze) needs() uint32 { return 2 }

func (op OverrideFreeze) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_OverrideFreeze{OverrideFreeze: &raftv1.OverrideFreeze{Id: string(op.ID), Reason: op.Reason}}
	return nil
}

func decodeProtectionOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_UpdateProtection:
		return decodeUpdateProtection(op.UpdateProtection), true
	case *raftv1.Command_HoldDeployment:
		h := op.HoldDeployment
		return HoldDeployment{ID: gestor.DeploymentID(h.GetId()), Waiting: h.GetWaiting(), Approval: h.GetApproval()}, true
	case *raftv1.Command_ApproveDeployment:
		a := op.ApproveDeployment
		return ApproveDeployment{ID: gestor.DeploymentID(a.GetId()), Comment: a.GetComment()}, true
	case *raftv1.Command_RejectDeployment:
		r := op.RejectDeployment
		return RejectDeployment{ID: gestor.DeploymentID(r.GetId()), Comment: r.GetComment()}, true
	case *raftv1.Command_OverrideFreeze:
		o := op.OverrideFreeze
		return OverrideFreeze{ID: gestor.DeploymentID(o.GetId()), Reason: o.GetReason()}, true
	}
	return nil, false
}
