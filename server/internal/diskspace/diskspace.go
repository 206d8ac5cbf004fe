// Package diskspace watches the room on the disk of the data directory, so that a full one is no surprise: below a
// reserve the server gives leadership to a voter with room, and while it still leads, users' changes are refused. What is
// under way (agents' reports, the server's own loops) goes on out of the reserve. It all ends by itself when there is
// room again.
package diskspace

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Options configure New. Dir, Leads and Log are needed.
type Options struct {
	Dir     string
	Reserve uint64        // bytes; 0: 1 GiB, or 5 % of the disk if that is more, but at most 10 GiB
	Every   time.Duration // between looks; 1 s by default
	Log     *slog.Logger

	Leads func() bool
	// Voters are the free bytes of the other voters that can be asked now, by id. Nil: there are none.
	Voters func(ctx context.Context) (map[string]uint64, error)
	// HandOver makes a voter lead. It is called with what Voters named only.
	HandOver func(id string) error
	// Measure is how much of dir's disk is free, and all of it; by default the system is asked.
	Measure func(dir string) (free, total uint64, err error)
}

// Guard is the watch. Run runs it.
type Guard struct {
	o     Options
	free  atomic.Uint64
	least atomic.Uint64
	low   atomic.Bool
	away  atomic.Bool // leadership is about to be given away, so that nobody need be refused yet
}

// What the reserve is when nothing is said.
const (
	leastReserve = 1 << 30
	mostReserve  = 10 << 30
	share        = 20 // the disk's twentieth
)

// handOverEvery is between attempts to give leadership away.
const handOverEvery = 10 * time.Second

// New makes a guard that has looked once.
func New(o Options) (*Guard, error) {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Measure == nil {
		o.Measure = measure
	}
	g := &Guard{o: o}
	if err := g.look(); err != nil {
		return nil, err
	}
	return g, nil
}

func measure(dir string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// reserve is how much of a disk stays free.
func (o Options) reserve(total uint64) uint64 {
	if o.Reserve != 0 {
		return o.Reserve
	}
	return min(max(leastReserve, total/share), mostReserve)
}

// look measures. It takes a tenth more than the reserve to be well again, so that nothing flutters.
func (g *Guard) look() error {
	free, total, err := g.o.Measure(g.o.Dir)
	if err != nil {
		return err
	}
	reserve := g.o.reserve(total)
	g.free.Store(free)
	g.least.Store(reserve)
	was := g.low.Load()
	low := free < reserve || was && free < reserve+reserve/10
	g.away.Store(low && !was && g.o.Voters != nil && g.o.Leads())
	g.low.Store(low)
	switch {
	case low && !was:
		g.o.Log.Error("the disk is almost full", "dir", g.o.Dir, "free", free, "reserve", reserve)
	case was && !low:
		g.o.Log.Info("the disk has room again", "dir", g.o.Dir, "free", free, "reserve", reserve)
	}
	return nil
}

// Run watches until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(g.o.Every)
	defer tick.Stop()
	var tried time.Time
	for {
		if g.low.Load() && g.o.Leads() && g.o.Voters != nil && time.Since(tried) >= min(handOverEvery, 10*g.o.Every) {
			tried = time.Now()
			g.handOver(ctx)
		}
		g.away.Store(false)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := g.look(); err != nil {
			g.o.Log.Error("free space not measured", "err", err)
		}
	}
}

// handOver gives leadership to the voter with the most room, if that is enough.
func (g *Guard) handOver(ctx context.Context) {
	voters, err := g.o.Voters(ctx)
	if err != nil {
		g.o.Log.Warn("could not ask other servers for room", "err", err)
	}
	best, room := "", g.least.Load()+g.least.Load()/10
	for id, free := range voters {
		if free > room || free == room && id < best {
			best, room = id, free
		}
	}
	if best == "" {
		return
	}
	if err := g.o.HandOver(best); err != nil {
		g.o.Log.Warn("could not hand leadership to a server with room", "to", best, "err", err)
		return
	}
	g.o.Log.Info("handed leadership to a server with room", "to", best)
}

// Free is how many bytes were free when it looked last.
func (g *Guard) Free() uint64 { return g.free.Load() }

// Refuse is why users' changes are not taken, or nil. A leader that finds a voter with room refuses nobody: what is written
// until that one leads goes on out of the reserve.
func (g *Guard) Refuse() error {
	if !g.low.Load() || g.away.Load() {
		return nil
	}
	return fault.Exhausted("the disk of the control server that leads is almost full: %d MiB are free, %d MiB are kept", g.free.Load()>>20, g.least.Load()>>20).
		WithFix("free space on the disk of %s, or make it larger; it goes on by itself then", g.o.Dir).WithRetryAfter(10 * time.Second)
}

// Notice is what a person should know, in a sentence; empty when all is well.
func (g *Guard) Notice() string {
	if g.low.Load() {
		return fmt.Sprintf("its disk is almost full: %d MiB are free", g.free.Load()>>20)
	}
	return ""
}
