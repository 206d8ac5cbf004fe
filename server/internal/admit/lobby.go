package admit

import (
	"container/heap"
	"container/list"
	"sync"
)

// guest is a connection in the lobby.
type guest struct {
	network string
	out     func() // hangs up
	group   *group
	at      *list.Element
	number  uint64 // in the order of arrival
}

// lobby holds the connections that shake hands. When it is full, the oldest guest of the network that has most of them has
// to go: who floods makes room with their own.
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

func (g *group) oldest() uint64 {
	if first, ok := g.guests.Front().Value.(*guest); ok {
		return first.number
	}
	return 0
}

func newLobby(most int) *lobby { return &lobby{most: most, groups: map[string]*group{}} }

// enter lets a guest in and reports whether another had to go for it.
func (l *lobby) enter(g *guest) (evicted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests >= l.most {
		first, ok := l.largest[0].guests.Front().Value.(*guest)
		if ok {
			l.remove(first)
			first.out()
		}
		evicted = ok
	}
	l.arrived++
	g.number = l.arrived
	l.add(g)
	return evicted
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
