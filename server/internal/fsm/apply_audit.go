package fsm

import (
	"bytes"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
)

// applyAuditOp applies the ops on the audit log; it reports whether op is one.
func (c *change) applyAuditOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.RecordAudit:
		return true, c.recordAudit(op)
	case command.ArchiveAudit:
		return true, c.archiveAudit(op)
	case command.DropAudit:
		return true, c.dropAudit(op)
	}
	return false, nil
}

func (c *change) recordAudit(op command.RecordAudit) error {
	for _, a := range op.Entries {
		a.Actor.Severity = ""
		if err := c.PutAudit(c.ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// archiveAudit notes where a year is. It is idempotent: the first artifact of a year counts.
func (c *change) archiveAudit(op command.ArchiveAudit) error {
	c.about("", map[string]any{"year": op.Year.Year, "entries": op.Year.Entries, "digest": op.Year.Digest})
	if op.Year.Digest == "" {
		return fault.Invalid("digest", "an archived year is in an artifact")
	}
	years, err := c.AuditYears(c.ctx)
	if err != nil {
		return err
	}
	for i, y := range years {
		switch {
		case y.Year == op.Year.Year && y.Digest != "":
			return nil
		case y.Year == op.Year.Year && i == len(years)-1:
			return fault.Conflict("the year %d goes on in the audit log", y.Year)
		case y.Year == op.Year.Year && (y.Entries != op.Year.Entries || !bytes.Equal(y.Head, op.Year.Head)):
			return fault.Conflict("the archive of %d has %d entries up to %x, the audit log has %d up to %x",
				y.Year, op.Year.Entries, op.Year.Head, y.Entries, y.Head)
		case y.Year == op.Year.Year:
			y.Digest, y.Bytes, y.ArchivedAt = op.Year.Digest, op.Year.Bytes, c.at
			return c.PutAuditYear(c.ctx, y)
		case y.Year < op.Year.Year && y.Digest == "":
			return fault.Conflict("the year %d comes first", y.Year)
		}
	}
	return noYear(op.Year.Year)
}

func noYear(year int) error { return fault.NotFound("the audit log has no year %d", year) }

func (c *change) dropAudit(op command.DropAudit) error {
	years, err := c.AuditYears(c.ctx)
	if err != nil {
		return err
	}
	for _, y := range years {
		if y.Year != op.Year {
			continue
		}
		if y.Digest == "" {
			return fault.Conflict("the year %d is not archived", y.Year)
		}
		return c.DropAudit(c.ctx, y.LastSeq, op.Most)
	}
	return noYear(op.Year)
}
