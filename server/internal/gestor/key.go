package gestor

import (
	"maps"
	"slices"
	"time"
)

// SealingKeyStatus is what a key of the ring is for.
type SealingKeyStatus string

// A key spreads to all servers, seals, opens what it sealed before another took its place, and is dropped when nothing
// is sealed with it any more.
const (
	KeySpreading SealingKeyStatus = "spreading"
	KeySealing   SealingKeyStatus = "sealing"
	KeyOld       SealingKeyStatus = "old"
	KeyDropped   SealingKeyStatus = "dropped"
)

// SealingKey is what the installation knows of a key; the key itself is in the rings of the servers only.
type SealingKey struct {
	ID        string // hex
	Status    SealingKeyStatus
	Confirmed map[ServerID]string // the servers that have it, with ""; what keeps others from having it
	CreatedAt time.Time
	SealingAt time.Time // when it began to seal; zero if it never did
	DroppedAt time.Time
	Revision  uint64
}

// On reports whether a server has said that it has the key.
func (k SealingKey) On(id ServerID) bool {
	problem, said := k.Confirmed[id]
	return said && problem == ""
}

// Missing are the servers that have not said that they have the key.
func (k SealingKey) Missing(servers []Server) []Server {
	return slices.DeleteFunc(slices.Clone(servers), func(s Server) bool { return k.On(s.ID) })
}

// With is the key with what a server says of it; "" is that it has it.
func (k SealingKey) With(id ServerID, problem string) SealingKey {
	k.Confirmed = maps.Clone(k.Confirmed)
	if k.Confirmed == nil {
		k.Confirmed = map[ServerID]string{}
	}
	k.Confirmed[id] = problem
	return k
}

// RotationPhase is how far the change to another key is.
type RotationPhase string

// The new key spreads to all servers; then everything is sealed anew with it.
const (
	RotationNone      RotationPhase = ""
	RotationSpreading RotationPhase = "spreading"
	RotationSealing   RotationPhase = "sealing"
	RotationDone      RotationPhase = "done"
)

// UnderWay reports whether there is something left to do.
func (p RotationPhase) UnderWay() bool {
	return p == RotationSpreading || p == RotationSealing
}

// KeyRotation is the last change of the sealing key.
type KeyRotation struct {
	Phase      RotationPhase
	KeyID      string
	StartedAt  time.Time
	StartedBy  string
	FinishedAt time.Time
	Unreadable int64 // values that could not be sealed anew, because the key they were sealed with is lost
	Revision   uint64
}

// Resealed is one sealed value that another key has sealed anew.
type Resealed struct {
	Column string   // "application_env.sealed"
	Key    []string // the primary key of its row
	Before []byte   // SHA-256 of the sealed value that it replaces; another one stays
	Sealed []byte
}
