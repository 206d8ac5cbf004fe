package cluster

import (
	"errors"
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

// watch runs a timer until the function it returns is called.
func (w *watchdog) watch(call string) func() bool {
	return time.AfterFunc(w.limit, func() { w.once.Do(func() { w.onStall(call) }) }).Stop
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
	return l.LogStore.DeleteRange(first, last)
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
