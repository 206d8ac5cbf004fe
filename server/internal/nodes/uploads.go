package nodes

import (
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// uploads bounds what a held build may store: one artifact, one upload at a time. Else one task could fill the disk that
// the state is on. The zero value is empty.
type uploads struct {
	mu     sync.Mutex
	byTask map[Held]*upload
}

type upload struct {
	busy   bool
	digest string    // of the artifact that is stored; "" if none is
	until  time.Time // is forgotten after it: the task has ended, with or without a word
}

// forgetAfter is how long after its time is up a task's upload is remembered.
const forgetAfter = time.Hour

// begin asks to store an artifact for a task. The caller calls done with how it went.
func (u *uploads) begin(t gestor.Task, digest string) (done func(stored bool), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tidy(time.Now())
	h := Held{t.ID, t.Fence}
	up := u.byTask[h]
	if up == nil {
		up = &upload{}
		u.byTask[h] = up
	}
	if up.busy { // what is left of a connection that broke ends in a moment
		return nil, fault.Unavailable("another upload of task %s is under way", t.ID).WithRetryAfter(5 * time.Second)
	}
	if up.digest != "" && up.digest != digest {
		return nil, fault.Denied("task %s has stored artifact %s already, a build has only one", t.ID, up.digest)
	}
	up.busy, up.until = true, time.Now().Add(t.Timeout+forgetAfter)
	return func(stored bool) {
		u.mu.Lock()
		defer u.mu.Unlock()
		up.busy = false
		if stored {
			up.digest = digest
		}
	}, nil
}

// tidy forgets tasks that have ended. u.mu is held.
func (u *uploads) tidy(now time.Time) {
	if u.byTask == nil {
		u.byTask = map[Held]*upload{}
	}
	for h, up := range u.byTask {
		if !up.busy && now.After(up.until) {
			delete(u.byTask, h)
		}
	}
}

// got reports whether the task stored the artifact here.
func (u *uploads) got(h Held, digest string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.byTask[h]
	return up != nil && digest != "" && up.digest == digest
}

// backed makes a failure of a build whose artifact this server does not have: a release of it could be on no node.
// An artifact that was stored before this server started counts too.
func (s *Service) backed(op command.FinishTask, r *agentv1.TaskResult) (command.FinishTask, error) {
	digest := r.GetBuild().GetArtifactDigest()
	if op.Outcome != gestor.TaskSucceeded || digest == "" || s.uploads.got(Held{op.ID, op.Fence}, digest) {
		return op, nil
	}
	_, err := s.blobs.Stat(digest)
	if errors.Is(err, fault.KindNotFound) || errors.Is(err, fault.KindInvalid) {
		op.Outcome, op.Result, op.Retryable = gestor.TaskFailed, nil, true
		op.Error = "the build reported artifact " + clip(digest, 64) + ", which was never stored on this server; deploy again"
		return op, nil
	}
	return op, err
}

// maxFacts bounds what an agent may have stored of its host.
const maxFacts = 64 << 10

// packFacts makes bytes of what an agent says of its host; a fault if that is too much to be stored.
func packFacts(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFacts {
		return nil, fault.Invalid("facts", "they have %d bytes, the most is %d", len(b), maxFacts)
	}
	return b, nil
}
