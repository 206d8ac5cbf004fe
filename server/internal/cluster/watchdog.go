package cluster

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// watchdog notices calls that do not come back. Raft waits for its log without a limit, and a leader that waits for a
// hung disk keeps its leadership by heartbeats; only the end of the process hands it on.
type watchdog struct {
	limit   time.Duration
	onStall func(call string)
	onStuck func(err error) // the log could not begin a new segment; it never tries again in this process
	once    sync.Once
}

// looks is how often the watchdog looks at a call before it counts as hung.
const looks = 8

// watch looks at a call until the function it returns is called. It counts its looks and not the time: while the whole
// process stands still, as a paused machine does, nobody looks, and a call that spans the pause is not the disk's fault.
func (w *watchdog) watch(call string) (done func()) {
	c := &watchedCall{dog: w, name: call}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(w.limit/looks, c.look)
	return c.done
}

type watchedCall struct {
	dog  *watchdog
	name string

	mu    sync.Mutex
	seen  int         // looks; guarded by mu
	timer *time.Timer // nil once the call came back; guarded by mu
}

// look is one look at a call that has not come back.
func (c *watchedCall) look() {
	if c.hangs() {
		c.dog.once.Do(func() { c.dog.onStall(c.name) })
	}
}

func (c *watchedCall) hangs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		return false
	}
	if c.seen++; c.seen < looks {
		c.timer.Reset(c.dog.limit / looks)
	}
	return c.seen == looks
}

func (c *watchedCall) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
	c.timer = nil
}

type watchedLogs struct {
	raft.LogStore
	dog *watchdog
}

func (l watchedLogs) GetLog(index uint64, log *raft.Log) error {
	defer l.dog.watch("read log")()
	return l.LogStore.GetLog(index, log)
}

func (l watchedLogs) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l watchedLogs) StoreLogs(logs []*raft.Log) error {
	defer l.dog.watch("write log")()
	err := l.LogStore.StoreLogs(logs)
	if errors.Is(err, types.ErrSealed) && l.dog.onStuck != nil {
		l.dog.onStuck(err)
	}
	return err
}

func (l watchedLogs) DeleteRange(first, last uint64) error {
	defer l.dog.watch("shorten log")()
	err := l.LogStore.DeleteRange(first, last)
	if errors.Is(err, fs.ErrExist) && l.dog.onStuck != nil {
		l.dog.onStuck(err) // what an attempt on a full disk left is in the way of every later one; opening the log clears it
	}
	return err
}

// IsMonotonic passes on what the log below needs to be told after a snapshot was installed.
func (l watchedLogs) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

type watchedStable struct {
	raft.StableStore
	dog *watchdog
}

func (s watchedStable) Set(key, value []byte) error {
	defer s.dog.watch("write term")()
	return s.StableStore.Set(key, value)
}

func (s watchedStable) SetUint64(key []byte, value uint64) error {
	defer s.dog.watch("write term")()
	return s.StableStore.SetUint64(key, value)
}
