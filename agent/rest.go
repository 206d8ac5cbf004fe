package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// restAfter is how long the agent is idle before it gives memory back, so that the tasks of one deployment share what
// the first of them took.
const restAfter = 5 * time.Second

// restAgain is how often it looks again while idle: runners that are not used go only after a minute. The runtime
// collects garbage as often by itself.
const restAgain = 2 * time.Minute

// rested is told that the last task has ended.
func (a *Agent) rested() {
	select {
	case a.idle <- struct{}{}:
	default:
	}
}

// rest gives memory back to the host after work: packing and unpacking take tens of megabytes for a moment, which the
// runtime by itself would keep for minutes.
func (a *Agent) rest(ctx context.Context) error {
	timer := time.NewTimer(restAfter) // what starting took goes, too
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.idle:
			timer.Reset(restAfter)
		case <-timer.C:
			if a.tasks.Busy() == 0 {
				debug.FreeOSMemory()
			}
			timer.Reset(restAgain)
		}
	}
}
