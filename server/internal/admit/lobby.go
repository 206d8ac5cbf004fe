package admit

import (
	"container/heap"
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

// guest is a connection in the lobby.
type guest struct {
	network string
	out     func()      // hangs up
	since   time.Time   // when it came
	spoke   atomic.Bool // it has said what a handshake begins with, and was answered
	group   *group
	at      *list.Element
	number  uint64 // in the order of arrival
}

// lobby holds the connections that shake hands. When it is full, a guest of the network that has most of them has to go:
// who floods makes room with their own. It is the oldest of those who have said nothing. Where all of that network shake
// hands in earnest, who comes from there has to come again: after a restart all agents come at once, and hanging up on
// those who are nearly through for those who are not would let nobody in.
type lobby struct {
	most int

	mu      sync.Mutex
	guests  int
	arrived uint64
	groups  map[string]*group
	largest groups
}

// group is the guests of one network, in the order they came.
type group struct {
	network string
	guests  *list.List
	index   int // in the heap
}

// first is the oldest guest; a group without guests is none.
func (g *group) first() *guest {
	of, _ := g.guests.Front().Value.(*guest) // the list holds nothing else
	return of
}

func (g *group) oldest() uint64 { return g.first().number }

func newLobby(most int) *lobby { return &lobby{most: most, groups: map[string]*group{}} }

// enter lets a guest in, and reports whether it did and whether somebody had to go or to stay out.
func (l *lobby) enter(g *guest) (in, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if full = l.guests >= l.most; full {
		largest := l.largest[0]
		victim := largest.idle(g.since)
		if victim == nil && largest.network == g.network {
			return false, true
		}
		if victim == nil {
			victim = largest.first()
		}
		l.remove(victim)
		victim.out()
	}
	l.arrived++
	g.number = l.arrived
	l.add(g)
	return true, full
}

// What a guest in earnest is given: so long for a handshake that has begun, and so many are looked at for one who has not.
const (
	earnest   = 3 * time.Second
	lookedFor = 64
)

// idle is the oldest guest that has said nothing, or has been in its handshake for too long; nil if there is none among the
// oldest.
func (g *group) idle(now time.Time) *guest {
	e := g.guests.Front()
	for range lookedFor {
		if e == nil {
			return nil
		}
		if of, ok := e.Value.(*guest); ok && (!of.spoke.Load() || now.Sub(of.since) > earnest) {
			return of
		}
		e = e.Next()
	}
	return nil
}

func (l *lobby) add(g *guest) {
	l.guests++
	of := l.groups[g.network]
	if of == nil {
		of = &group{network: g.network, guests: list.New()}
		l.groups[g.network] = of
		g.group, g.at = of, of.guests.PushBack(g)
		heap.Push(&l.largest, of)
		return
	}
	g.group, g.at = of, of.guests.PushBack(g)
	heap.Fix(&l.largest, of.index)
}

// leave lets a guest out, if it was not put out before.
func (l *lobby) leave(g *guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.group != nil {
		l.remove(g)
	}
}

func (l *lobby) remove(g *guest) {
	l.guests--
	of := g.group
	g.group = nil
	if of.guests.Len() == 1 {
		heap.Remove(&l.largest, of.index) // compares by the guests, so before the last is gone
		delete(l.groups, of.network)
		return
	}
	of.guests.Remove(g.at)
	heap.Fix(&l.largest, of.index)
}

// groups is a heap with the largest group on top; among equals the one whose guest came first.
type groups []*group

func (g *groups) Len() int { return len(*g) }

func (g *groups) Less(i, j int) bool {
	one, other := (*g)[i], (*g)[j]
	if a, b := one.guests.Len(), other.guests.Len(); a != b {
		return a > b
	}
	return one.oldest() < other.oldest()
}

func (g *groups) Swap(i, j int) {
	all := *g
	all[i], all[j] = all[j], all[i]
	all[i].index, all[j].index = i, j
}

// Push implements heap.Interface.
func (g *groups) Push(x any) {
	if of, ok := x.(*group); ok {
		of.index = len(*g)
		*g = append(*g, of)
	}
}

// Pop implements heap.Interface.
func (g *groups) Pop() any {
	last := len(*g) - 1
	of := (*g)[last]
	(*g)[last] = nil
	*g = (*g)[:last]
	return of
}
