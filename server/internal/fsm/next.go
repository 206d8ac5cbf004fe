//go:build gestor_next

package fsm

import "github.com/saas-gestor/gestor/server/internal/command"

// applyNext applies the ops of the next level.
func (c *change) applyNext(op command.Op) (bool, error) {
	if op, ok := op.(command.PutNote); ok {
		c.about(op.ID, nil)
		return true, c.PutNote(c.ctx, op.ID, op.Text)
	}
	return false, nil
}
