package agent

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if it started this program.
func (a *Agent) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Debug("systemd not notified", "err", err)
	}
}

// watchdog tells systemd that the agent lives, as often as the unit asks, by way of the locks a stuck agent would hold.
func (a *Agent) watchdog(ctx context.Context) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		<-ctx.Done()
		a.notify("STOPPING=1")
		return nil
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.notify("STOPPING=1")
			return nil
		case <-tick.C:
			a.tasks.Busy()
			a.notify("WATCHDOG=1")
		}
	}
}
