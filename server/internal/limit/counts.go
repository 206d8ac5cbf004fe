package limit

import "sync"

// Counts bounds how many things each party holds at once. The zero value refuses nothing.
type Counts struct {
	Most    int // of one party; 0 for no limit
	MostAll int // of all parties together; 0 for no limit

	mu   sync.Mutex
	held map[string]int // guarded by mu; parties that hold nothing are not in it
	all  int            // guarded by mu
}

// Enter takes one more for a party, until leave is called. ok is false if it holds as many as it may; leave is nil then.
func (c *Counts) Enter(key string) (leave func(), ok bool) {
	if !c.Take(key, 1) {
		return nil, false
	}
	return sync.OnceFunc(func() { c.Give(key, 1) }), true
}

// Take takes n more for a party, until as many are given back. It is false, and nothing is taken, if that would be more
// than it may hold.
func (c *Counts) Take(key string, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Most > 0 && c.held[key]+n > c.Most || c.MostAll > 0 && c.all+n > c.MostAll {
		return false
	}
	if c.held == nil {
		c.held = map[string]int{}
	}
	c.held[key] += n
	c.all += n
	return true
}

// Give gives back n of a party's.
func (c *Counts) Give(key string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all -= n
	if c.held[key] -= n; c.held[key] <= 0 {
		delete(c.held, key)
	}
}

// Len is how many are held by all parties.
func (c *Counts) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}
