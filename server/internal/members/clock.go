package members

import (
	"context"
	"time"
)

// clockEvery is the time between two questions of what the others' clocks say: as long as one whose clock is set is believed.
const clockEvery = 2 * time.Second

// RunClock goes on comparing this server's clock with the others'. It returns nil when ctx ends.
func (s *Service) RunClock(ctx context.Context) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	var told string
	for {
		s.CompareClocks(ctx)
		if notice := s.o.Clock.Notice(); notice != told {
			s.tellOfClock(notice)
			told = notice
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Service) tellOfClock(notice string) {
	if notice == "" {
		s.o.Log.Info("this server's clock is right again")
		return
	}
	s.o.Log.Warn("this server's clock is wrong; it goes by the time of the others", "ahead", s.o.Clock.Ahead().Round(time.Millisecond).String())
}

// CompareClocks asks the other servers at the same time what their clocks say. It takes a second at most.
func (s *Service) CompareClocks(ctx context.Context) {
	others := s.others()
	ids := make([]string, len(others))
	for i, id := range others {
		ids[i] = string(id)
	}
	s.o.Clock.Members(ids)
	s.Statuses(ctx, others)
}
