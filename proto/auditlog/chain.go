package auditlog

import "fmt"

// Problem is something that is not as the chain says.
type Problem struct {
	Seq  int64 // the entry at which it shows
	What string
}

func (p Problem) String() string { return fmt.Sprintf("entry %d: %s", p.Seq, p.What) }

// Chain checks entries one after the other. The zero Chain begins anywhere: what is before the first entry it is given,
// it takes from that entry.
type Chain struct {
	Partial bool // entries may be missing between others, as in what is of one tenant

	Seq     int64 // of the last entry
	Head    Hash  // its hash
	Year    int   // its year
	Checked int64 // how many entries had a hash
	Without int64 // how many had none, being older than hashes
	Masked  int64 // how many of those with a hash do not show what it is over
	begun   bool
}

// After begins behind an entry that is known: the first one checked must follow it. An empty hash stands for the beginning
// of all.
func (c *Chain) After(seq int64, head Hash, year int) {
	c.Seq, c.Head, c.Year, c.begun = seq, head, year, true
}

// Add checks the next entry and goes on from it, whatever was found.
func (c *Chain) Add(l *Line) []Problem {
	found := c.check(l)
	if l.Form == 0 {
		c.Without++
	} else {
		c.Checked++
		if l.Masked {
			c.Masked++
		}
		c.Head = l.Hash
	}
	c.Seq, c.Year, c.begun = l.Seq, max(l.Year, c.Year), true
	return found
}

func (c *Chain) check(l *Line) []Problem {
	var found []Problem
	say := func(format string, args ...any) { found = append(found, Problem{l.Seq, fmt.Sprintf(format, args...)}) }
	follows := c.Seq == 0 || l.Seq == c.Seq+1
	switch {
	case c.begun && c.Seq > 0 && l.Seq <= c.Seq:
		say("it comes behind entry %d, which is out of order", c.Seq)
	case c.begun && !follows && !c.Partial:
		say("it comes behind entry %d: %d entries are missing before it", c.Seq, l.Seq-c.Seq-1)
	case l.Year != 0 && l.Year < c.Year:
		say("it is of the year %d, behind one of %d", l.Year, c.Year)
	}
	if l.Form == 0 {
		if len(c.Head) > 0 {
			say("it has no hash, but stands behind entries that have")
		}
		return found
	}
	if c.begun && (follows || !c.Partial) && !same(c.Head, l.Previous) {
		say("it does not follow what is before it: entries were removed, put in or moved here")
	}
	if l.Masked {
		return found
	}
	want, err := l.Sum(l.Previous)
	switch {
	case err != nil:
		say("%v", err)
	case !same(want, l.Hash):
		say("it was changed: its hash is not that of what it says")
	}
	return found
}

// same compares hashes; none is the same as zeroes, of before the first entry.
func same(a, b Hash) bool {
	var x, y [Size]byte
	copy(x[:], a)
	copy(y[:], b)
	return len(a) <= Size && len(b) <= Size && x == y
}
