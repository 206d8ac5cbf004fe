//go:build !gestor_next

package state

// nextMigrations is empty in the program as it is released; see level_next.go.
func nextMigrations() []migration { return nil }
