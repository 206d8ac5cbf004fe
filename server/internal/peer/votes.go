package peer

// Votes reports whether this server counts in Majority: it is a voter, or knows of no members yet.
func (p *Port) Votes() bool {
	members := p.known()
	for _, m := range members {
		if m.ID == p.o.Self {
			return m.Voter
		}
	}
	return len(members) == 0
}
