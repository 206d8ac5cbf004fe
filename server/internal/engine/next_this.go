//go:build !gestor_next

package engine

// runNext has nothing to run in the program as it is released; see next.go.
func (e *Engine) runNext() {}
