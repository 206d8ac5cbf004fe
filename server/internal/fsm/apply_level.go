package fsm

import (
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyLogOp applies the ops on the log and the state as a whole; it reports whether op is one.
func (c *change) applyLogOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.Mark:
		return true, c.mark(op)
	case command.RaiseLevel:
		return true, c.raiseLevel(op)
	}
	return c.applyNext(op)
}

// raiseLevel brings the state to a level. It never goes down, and never above what a server of the cluster understands.
func (c *change) raiseLevel(op command.RaiseLevel) error {
	c.about("", map[string]any{"level": op.Level})
	if op.Level > command.Level {
		return fault.Conflict("the servers of this cluster know levels up to %d, not %d", command.Level, op.Level)
	}
	all, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if LevelOf(s) < op.Level {
			return TooOld(s, op.Level)
		}
	}
	return c.RaiseLevel(c.ctx, op.Level)
}

// LevelOf is the level a server said it understands; one that said nothing understands the first.
func LevelOf(s gestor.Server) uint32 { return max(s.Level, 1) }

// TooOld refuses what a server does not understand.
func TooOld(s gestor.Server, level uint32) *fault.Error {
	return fault.Conflict("server %s runs version %s, which understands level %d; this needs level %d", s.Name, s.Version, LevelOf(s), level).
		WithFix("upgrade gestor-server on %s, or remove it if it is gone for good: gestor servers remove %s", s.Name, s.Name)
}

// checkLevel refuses an op that needs a higher level than the state has.
func (c *change) checkLevel(op command.Op) error {
	needs := command.Needs(op)
	if needs <= 1 {
		return nil // every state has that
	}
	level, err := c.Level(c.ctx)
	if err != nil || needs <= level {
		return err
	}
	return fault.Conflict("this needs level %d, the state has level %d", needs, level).
		WithFix("upgrade all control servers; the state follows within seconds")
}

// checkNewcomer refuses a server that does not understand the state.
func (c *change) checkNewcomer(s gestor.Server) error {
	level, err := c.Level(c.ctx)
	if err != nil || LevelOf(s) >= level {
		return err
	}
	return fault.Conflict("the cluster's state has level %d, version %s of the new server understands level %d", level, s.Version, LevelOf(s)).
		WithFix("install the cluster's version of gestor-server on the new server first")
}
