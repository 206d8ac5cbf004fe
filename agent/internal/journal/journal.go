// Package journal remembers which tasks this host was assigned, began and ended, across crashes.
//
// It is one append-only file of framed records, each fsynced before its method returns; the whole of it is also in
// memory. It decides which assignments are new, known or stale, by their fences, but runs nothing. Secrets never reach
// it: of an assignment it stores the spec and whether there were secrets.
//
// Guarantees: after a crash at any point, Open returns exactly the records whose methods had returned, and perhaps the
// one in the making. The highest fence seen per resource only grows.
package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const (
	compactAbove  = 1 << 20 // bytes of file below which compaction is not worth its fsyncs
	compactFactor = 4       // and how much bigger than its last compacted self the file must be
	maxTaskFences = 4096    // how many fences of "task/…" resources are kept; those of apps are kept for ever
	taskResource  = "task/"
	fileMode      = 0o600
)

// ErrStale says that an assignment's fence is not above the last one seen for its resource.
var ErrStale = errors.New("stale fence")

// Entry is a task the journal holds: not acknowledged yet.
type Entry struct {
	Spec       *agentv1.TaskSpec
	HasSecrets bool                  // its assignment came with secrets, which are not here
	Begun      bool                  // an executor may have run
	Finished   *agentv1.TaskFinished // nil until it ended
}

// Verdict is what Assign found.
type Verdict int

// A New assignment is written and to be run; a Known one is in the journal with the same fence; a Forgotten one is the
// last its resource saw, ended and acknowledged.
const (
	New Verdict = iota + 1
	Known
	Forgotten
)

type seen struct {
	Fence uint64 `json:"fence"`
	Task  string `json:"task"`
}

// Journal is safe for concurrent use.
type Journal struct {
	mu        sync.Mutex // guards everything below
	path      string
	file      *os.File
	size      int64 // bytes of good records in file
	compacted int64 // size right after the last compaction
	broken    error // set when the file could not be brought back to a good state
	entries   map[string]*Entry
	fences    map[string]seen
}

// Open reads the journal at path, making it if there is none. What a crash left half-written at its end is cut off; damage
// anywhere else is an error, because forgetting fences would be dangerous.
func Open(path string) (*Journal, error) {
	j := &Journal{path: path, entries: map[string]*Entry{}, fences: map[string]seen{}}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j.file = file
	if err := j.load(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	if err := syncDir(path); err != nil {
		_ = file.Close()
		return nil, err
	}
	j.compacted = j.size
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = os.ErrClosed
	return j.file.Close()
}

// Assign judges an assignment and writes a New one. It returns ErrStale for a fence that is not above the last one seen
// for the resource or for the task.
func (j *Journal) Assign(spec *agentv1.TaskSpec, hasSecrets bool) (Verdict, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.entries[spec.GetId()]; ok {
		switch {
		case e.Spec.GetFence() == spec.GetFence():
			return Known, nil
		case e.Spec.GetFence() > spec.GetFence():
			return 0, ErrStale
		}
	}
	last := j.fences[spec.GetResource()]
	if last.Fence == spec.GetFence() && last.Task == spec.GetId() {
		return Forgotten, nil
	}
	if spec.GetFence() <= last.Fence {
		return 0, ErrStale
	}
	raw, err := proto.Marshal(spec)
	if err != nil {
		return 0, fmt.Errorf("encode task: %w", err)
	}
	return New, j.append(record{
		Op: opAssigned, Task: spec.GetId(), Fence: spec.GetFence(), Resource: spec.GetResource(),
		Secrets: hasSecrets, Message: raw,
	})
}

// Begin notes that the executor of a task is about to run.
func (j *Journal) Begin(id string, fence uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.entry(id, fence); err != nil {
		return err
	}
	return j.append(record{Op: opBegun, Task: id, Fence: fence})
}

// End notes how a task ended. A second end of the same task changes nothing.
func (j *Journal) End(result *agentv1.TaskFinished) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, err := j.entry(result.GetTaskId(), result.GetFence())
	if err != nil {
		return err
	}
	if e.Finished != nil {
		return nil
	}
	raw, err := proto.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return j.append(record{Op: opEnded, Task: result.GetTaskId(), Fence: result.GetFence(), Message: raw})
}

// Acknowledge forgets a finished task. It does nothing for one that it does not hold or that has not ended.
func (j *Journal) Acknowledge(id string, fence uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, err := j.entry(id, fence)
	if err != nil || e.Finished == nil {
		return nil // an acknowledgement may come twice
	}
	return j.append(record{Op: opAcknowledged, Task: id, Fence: fence})
}

// Entries returns copies of what the journal holds, oldest fence first.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Entry, 0, len(j.entries))
	for _, e := range j.entries {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Compare(a.Spec.GetFence(), b.Spec.GetFence()) })
	return all
}

// Fence returns the highest fence seen for a resource, 0 if none.
func (j *Journal) Fence(resource string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fences[resource].Fence
}

func (j *Journal) entry(id string, fence uint64) (*Entry, error) {
	e, ok := j.entries[id]
	if !ok || e.Spec.GetFence() != fence {
		return nil, fmt.Errorf("task %s with fence %d is not in the journal", id, fence)
	}
	return e, nil
}

// apply brings the memory up to a record that is on disk.
func (j *Journal) apply(r record) error {
	switch r.Op {
	case opAssigned:
		spec := &agentv1.TaskSpec{}
		if err := proto.Unmarshal(r.Message, spec); err != nil {
			return fmt.Errorf("decode task %s: %w", r.Task, err)
		}
		j.entries[r.Task] = &Entry{Spec: spec, HasSecrets: r.Secrets}
		j.see(r.Resource, seen{Fence: r.Fence, Task: r.Task})
	case opBegun:
		if e, err := j.entry(r.Task, r.Fence); err == nil {
			e.Begun = true
		}
	case opEnded:
		result := &agentv1.TaskFinished{}
		if err := proto.Unmarshal(r.Message, result); err != nil {
			return fmt.Errorf("decode result of %s: %w", r.Task, err)
		}
		if e, err := j.entry(r.Task, r.Fence); err == nil {
			e.Finished = result
		}
	case opAcknowledged:
		if _, err := j.entry(r.Task, r.Fence); err == nil {
			delete(j.entries, r.Task)
		}
	case opFence:
		j.see(r.Resource, seen{Fence: r.Fence, Task: r.Task})
	default:
		return fmt.Errorf("unknown record %q: this journal was written by a newer agent; install that version again", r.Op)
	}
	return nil
}

func (j *Journal) see(resource string, s seen) {
	if s.Fence > j.fences[resource].Fence {
		j.fences[resource] = s
	}
}

// records is the shortest list of records with the same meaning.
func (j *Journal) records() ([]record, error) {
	var all []record
	for resource, s := range j.keptFences() {
		all = append(all, record{Op: opFence, Resource: resource, Fence: s.Fence, Task: s.Task})
	}
	for _, e := range j.entries {
		more, err := entryRecords(e)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// keptFences drops the oldest fences of "task/…" resources: each is used by one task only, so they would grow for ever.
func (j *Journal) keptFences() map[string]seen {
	var tasks []string
	for resource := range j.fences {
		if strings.HasPrefix(resource, taskResource) {
			tasks = append(tasks, resource)
		}
	}
	if len(tasks) <= maxTaskFences {
		return j.fences
	}
	slices.SortFunc(tasks, func(a, b string) int { return cmp.Compare(j.fences[b].Fence, j.fences[a].Fence) })
	for _, old := range tasks[maxTaskFences:] {
		delete(j.fences, old)
	}
	return j.fences
}

func entryRecords(e *Entry) ([]record, error) {
	spec, err := proto.Marshal(e.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode task: %w", err)
	}
	id, fence := e.Spec.GetId(), e.Spec.GetFence()
	all := []record{{Op: opAssigned, Task: id, Fence: fence, Resource: e.Spec.GetResource(), Secrets: e.HasSecrets, Message: spec}}
	if e.Begun {
		all = append(all, record{Op: opBegun, Task: id, Fence: fence})
	}
	if e.Finished != nil {
		raw, err := proto.Marshal(e.Finished)
		if err != nil {
			return nil, fmt.Errorf("encode result: %w", err)
		}
		all = append(all, record{Op: opEnded, Task: id, Fence: fence, Message: raw})
	}
	return all, nil
}
