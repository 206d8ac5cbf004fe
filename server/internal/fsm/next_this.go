//go:build !gestor_next

package fsm

import "github.com/saas-gestor/gestor/server/internal/command"

// applyNext knows no op in the program as it is released; see next.go.
func (c *change) applyNext(command.Op) (bool, error) { return false, nil }
