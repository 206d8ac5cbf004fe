package nodes

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Bounds of reports to the leader.
const (
	reportBytes   = 1 << 20 // beyond this, sessions are reported without what can come with the next report
	reportTimeout = 2 * time.Second
)

// ledger is what the leader was told. One goroutine uses it.
type ledger struct {
	leader string
	seq    uint64    // of the last report it has taken; 0 if it is to get all sessions
	told   time.Time // when
	more   bool      // something did not fit
}

// report is one on its way: what it says, and what is said with it.
type report struct {
	request  *peerv1.ReportSessionsRequest
	sessions map[string]*session
	began    time.Time
	bytes    int
}

// tell reports this server's sessions to whoever leads, until ctx ends: at once when one begins or ends, and once a second
// those that were heard since. It also keeps an eye on whether there is a leader at all.
func (s *Service) tell(ctx context.Context) error {
	tick := time.NewTicker(s.times.Heartbeat / 50)
	defer tick.Stop()
	l := &ledger{}
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
			woken = true
			pause(ctx, breath)
		}
		s.watchLeader(time.Now())
		leader := s.engine.Leader()
		if leader != l.leader {
			*l = ledger{leader: leader}
			woken = true
		}
		if due := time.Since(l.told) >= s.times.Heartbeat/5; leader != "" && (woken || due || l.more) {
			s.tellLeader(ctx, l)
		}
	}
}

// tellLeader makes one report. After one that failed nobody knows what the leader has, so the next says everything.
func (s *Service) tellLeader(ctx context.Context, l *ledger) {
	r := s.compose(l)
	answer, err := s.send(ctx, l.leader, r.request)
	l.told = time.Now()
	switch {
	case err != nil:
		if ctx.Err() == nil && !errors.Is(err, fault.KindUnavailable) {
			s.log.Warn("could not report the sessions to the leader", "leader", l.leader, "err", err)
		}
		s.refuse(r)
		l.seq, l.more = 0, false
	case answer.GetResync():
		s.refuse(r)
		l.seq, l.more = 0, true
	default:
		l.seq = r.request.GetSeq()
		s.supersede(r, answer.GetSuperseded())
		s.spread(int(answer.GetTotal()), int(answer.GetServers()), l.told)
	}
}

func (s *Service) send(ctx context.Context, leader string, r *peerv1.ReportSessionsRequest) (*peerv1.ReportSessionsResponse, error) {
	if leader == s.engine.ID() {
		return s.take(r)
	}
	if s.peers == nil {
		return nil, notLeading()
	}
	client, err := s.peers.Presence(leader)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return client.ReportSessions(ctx, r)
}

// compose takes what is to be reported.
func (s *Service) compose(l *ledger) *report {
	whole := l.seq == 0
	r := &report{sessions: map[string]*session{}, began: time.Now(), request: &peerv1.ReportSessionsRequest{
		ServerId: s.engine.ID(), Seq: l.seq + 1,
	}}
	l.more = false
	s.mu.Lock()
	defer s.mu.Unlock()
	r.request.Total = int32(len(s.sessions))
	for id, sess := range s.sessions {
		if m := sess.news(whole, r.began, r.bytes < reportBytes); m != nil {
			r.add(string(id), sess, m)
		}
	}
	l.more = r.bytes >= reportBytes
	for id := range s.gone {
		if !whole {
			r.request.Left = append(r.request.Left, string(id))
		}
	}
	clear(s.gone)
	return r
}

func (r *report) add(id string, sess *session, m *peerv1.SessionReport) {
	r.request.Sessions = append(r.request.Sessions, m)
	r.sessions[id] = sess
	r.bytes += proto.Size(m)
}

// refuse puts back what a report said that was not taken. Ends need not be: the next report tells all there is.
func (s *Service) refuse(r *report) {
	for _, sess := range r.sessions {
		sess.mu.Lock()
		sess.factsTold = false
		sess.mu.Unlock()
	}
}

// news is what the leader is to be told of a session, nil for nothing. What is large waits for another report when there
// is no room.
func (sess *session) news(whole bool, now time.Time, room bool) *peerv1.SessionReport {
	seen := sess.seen.Load()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if !whole && seen == sess.toldSeen && sess.factsTold && !sess.loadNew {
		return nil
	}
	m := &peerv1.SessionReport{
		NodeId: string(sess.node), Session: sess.number, Order: sess.order,
		Age: durationpb.New(now.Sub(sess.heard())),
	}
	if !room {
		sess.toldSeen = -1
		return m
	}
	sess.toldSeen = seen
	m.Tasks = sess.held
	if sess.loadNew || whole {
		m.Load = sess.load
	}
	if !sess.factsTold {
		m.Facts = sess.facts
	}
	sess.factsTold, sess.loadNew = true, false
	return m
}

// supersede ends the sessions whose nodes have a newer one elsewhere.
func (s *Service) supersede(r *report, nodes []string) {
	for _, id := range nodes {
		if sess := r.sessions[id]; sess != nil {
			sess.end(goodbye{"another session of this node began", s.times.Heartbeat})
		}
	}
}

// watchLeader sends the agents elsewhere when this server has seen no leader for a while: it can neither commit their
// results nor bring them work. They come back when it can, or find a server that can at once.
func (s *Service) watchLeader(now time.Time) {
	away := now.Sub(s.engine.LastContact()) >= s.times.Leaderless
	if !away && s.engine.Leader() == "" {
		return // an election, most likely
	}
	if s.away.Swap(away) == away {
		return
	}
	if !away {
		s.log.Info("there is a leader again; agents are welcome")
		return
	}
	sessions := s.snapshot()
	if len(sessions) > 0 {
		s.log.Warn("no server leads as far as this one knows; its agents are sent to others", "agents", len(sessions))
	}
	for _, sess := range sessions {
		sess.end(goodbye{"this server has lost touch with the others", s.patience(len(sessions))})
	}
}

// welcome refuses new sessions where they would be of no use.
func (s *Service) welcome() error {
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	switch {
	case closing:
		return fault.Unavailable("the server is stopping").WithRetryAfter(time.Second)
	case s.away.Load():
		return fault.Unavailable("this server has lost touch with the others; another one may have not").WithRetryAfter(time.Second)
	}
	return nil
}

// nodeGone notes that a node's session ended, for the next report. s.mu is held.
func (s *Service) nodeGone(id gestor.NodeID) {
	if s.gone == nil {
		s.gone = map[gestor.NodeID]bool{}
	}
	s.gone[id] = true
	s.stir()
}

func (s *Service) stir() { notify(s.wake) }
