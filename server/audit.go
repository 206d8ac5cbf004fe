package server

import (
	"github.com/saas-gestor/gestor/server/internal/audit"
)

// wireAudit makes what keeps the audit log beside the state machine.
func (s *Server) wireAudit(p *parts) {
	log := s.log.With("component", "audit")
	p.attempts = audit.NewAttempts(audit.AttemptOptions{Engine: s.engine, Now: s.clock.Now, Log: log})
	p.run = append(p.run, part{"refused attempts", p.attempts.Run})
	archive := audit.NewArchive(audit.ArchiveOptions{
		Engine: s.engine, Blobs: p.mirror, Years: s.options.Config.AuditYears, Dir: s.options.Config.DataDir, Now: s.clock.Now, Doubt: s.clock.Doubt, Log: log,
	})
	s.engine.OnTerm("audit", archive.RunTerm)
}
