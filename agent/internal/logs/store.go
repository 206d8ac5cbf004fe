package logs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

const (
	dirPrefix   = "log-"
	wholeName   = "whole" // marks a log that got its last line
	maxSegment  = 1 << 20
	segmentsMin = 8 // the spool is made of at least so many segments
)

// Options say where and how much to spool.
type Options struct {
	Dir      string // made if missing
	MaxBytes int64  // of all logs together; 256 MiB if 0
	Log      *slog.Logger
}

// Store is the spool of all tasks' logs. It is safe for concurrent use.
type Store struct {
	o       Options
	known   []shape
	changed chan struct{} // signalled when there may be something to send

	mu     sync.Mutex // guards everything below
	spools map[string]*spool
	tails  map[string]*Tail
	all    []*segment // of every spool, oldest first
	total  int64      // bytes in all
}

// OpenStore opens the spool in o.Dir with the logs that an earlier run left.
func OpenStore(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	s := &Store{
		o: o, known: knownShapes(), changed: make(chan struct{}, 1),
		spools: map[string]*spool{}, tails: map[string]*Tail{},
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make log spool: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("read log spool: %w", err)
	}
	for _, e := range entries {
		if err := s.load(e.Name()); err != nil {
			return nil, fmt.Errorf("read log spool: %w", err)
		}
	}
	slices.SortStableFunc(s.all, func(a, b *segment) int { return a.made.Compare(b.made) })
	return s, nil
}

func (s *Store) load(name string) error {
	escaped, ok := strings.CutPrefix(name, dirPrefix)
	if !ok {
		return nil
	}
	id, err := url.PathUnescape(escaped)
	if err != nil {
		return err
	}
	p := &spool{id: id, dir: filepath.Join(s.o.Dir, name)}
	if err := p.load(); err != nil {
		return err
	}
	s.spools[id] = p
	s.all = append(s.all, p.segments...)
	for _, g := range p.segments {
		s.total += g.size
	}
	return nil
}

// Open begins or goes on with the log of an attempt at a task. What an earlier attempt, or an earlier run of the agent,
// spooled is kept and sent before.
func (s *Store) Open(id string, attempt int32, secrets []string) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.spools[id]
	if !ok {
		p = &spool{id: id, dir: filepath.Join(s.o.Dir, dirPrefix+url.PathEscape(id))}
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make log spool of %s: %w", id, err)
		}
		s.spools[id] = p
	}
	if err := os.Remove(filepath.Join(p.dir, wholeName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open log spool of %s: %w", id, err)
	}
	p.whole, p.open, p.attempt = false, true, attempt
	l := &Log{store: s, id: id, attempt: attempt, seq: p.last}
	patterns := NewPatterns(secrets)
	in := func(from gestorv1.LogStream) *stream {
		return newStream(patterns, s.known, func(text string) { l.add(from, text) })
	}
	l.stdout, l.stderr = in(gestorv1.LogStream_LOG_STREAM_STDOUT), in(gestorv1.LogStream_LOG_STREAM_STDERR)
	l.own = in(gestorv1.LogStream_LOG_STREAM_GESTOR)
	return l, nil
}

// FinishOthers ends the logs an earlier run of the agent left open, except those for which keep holds: their tasks go on.
func (s *Store) FinishOthers(keep func(id string) bool) {
	s.mu.Lock()
	var ids []string
	for id, p := range s.spools {
		if !p.open && !p.whole && !keep(id) {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.finish(id)
	}
}

// append spools a message. A disk that cannot take it loses the lines; the gap is marked like any other.
func (s *Store) append(id string, m *agentv1.PushLogsRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.spools[id]
	if p == nil { // the server wants no more of it
		return
	}
	g, n, err := p.append(m, s.segmentBytes())
	if err != nil {
		s.o.Log.Warn("log lines not spooled", "task", id, "err", err)
		return
	}
	if g != nil {
		s.all = append(s.all, g)
	}
	s.total += n
	s.shrink()
	s.signal()
}

func (s *Store) segmentBytes() int64 { return min(maxSegment, s.o.MaxBytes/segmentsMin) }

// shrink drops the oldest segments until the spool is within its bound; one that is being written stays.
func (s *Store) shrink() {
	for i := 0; s.total > s.o.MaxBytes && i < len(s.all); {
		g := s.all[i]
		if g.current() {
			i++
			continue
		}
		s.remove(g)
	}
}

// remove deletes a segment; s.mu is held.
func (s *Store) remove(g *segment) {
	if err := os.Remove(g.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.o.Log.Warn("log segment not removed", "err", err)
	}
	s.total -= g.size
	s.all = slices.DeleteFunc(s.all, func(o *segment) bool { return o == g })
	g.owner.segments = slices.DeleteFunc(g.owner.segments, func(o *segment) bool { return o == g })
}

func (s *Store) finish(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.spools[id]
	if p == nil {
		return
	}
	p.whole, p.open = true, false
	if err := os.WriteFile(filepath.Join(p.dir, wholeName), nil, 0o600); err != nil {
		s.o.Log.Warn("end of log not spooled", "task", id, "err", err)
	}
	s.signal()
}

// forget drops a log that is stored or not wanted; s.mu is held.
func (s *Store) forget(p *spool) {
	for _, g := range slices.Clone(p.segments) {
		s.remove(g)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		s.o.Log.Warn("log spool not removed", "task", p.id, "err", err)
	}
	delete(s.spools, p.id)
}

func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Close ends all tails.
func (s *Store) Close() { s.CloseTails() }
