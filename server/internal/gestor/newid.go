package gestor

import (
	"crypto/rand"
	"strings"
)

// NewID makes an id with the prefix of its noun: NewID[AppID]("app") is "app_" and 26 characters with 128 random
// bits. Only proposers call it; it is the one place of this package that is not a pure function.
func NewID[T ~string](prefix string) T {
	return T(prefix + "_" + strings.ToLower(rand.Text()))
}
