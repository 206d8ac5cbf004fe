package command

// Level is the newest set of commands this program understands. It grows with every release that brings an op, a field
// of an op, or a migration of the state.
const Level = level

// leveled is an op that came with a level above the first.
type leveled interface{ needs() uint32 }

// Needs is the least level of state and servers that an op needs.
func Needs(op Op) uint32 {
	if l, ok := op.(leveled); ok {
		return l.needs()
	}
	return 1
}
