package cluster

import (
	"testing"

	"github.com/hashicorp/raft"
)

// credulous is Raft as it confirms a leader: by any answer, so here without one. It calls asked every time.
type credulous struct{ asked func(times int) }

type verified struct {
	*credulous
	times *int
}

func (v verified) CommitIndex() uint64 { return 7 }

func (v verified) VerifyLeader() raft.Future {
	*v.times++
	v.asked(*v.times)
	return certain{}
}

func (v verified) GetConfiguration() raft.ConfigurationFuture { return certain{} }

// certain is a future that has come true.
type certain struct{}

func (certain) Error() error  { return nil }
func (certain) Index() uint64 { return 0 }
func (certain) Configuration() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{
		{ID: "a", Suffrage: raft.Voter}, {ID: "b", Suffrage: raft.Voter}, {ID: "c", Suffrage: raft.Voter}, {ID: "d", Suffrage: raft.Nonvoter},
	}}
}

// answering is a transport whose servers answer when they are let.
type answering struct {
	raft.Transport
	answer func() (term uint64, success bool)
}

func (a answering) AppendEntries(
	_ raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	resp.Term, resp.Success = a.answer()
	return nil
}

func TestReadIndex_IsNotConfirmedByAnswersToWhatWasAskedBefore(t *testing.T) {
	const term = 3
	held, asked := make(chan struct{}), make(chan struct{})
	c := newContacts(answering{answer: func() (uint64, bool) { close(asked); <-held; return term, true }})
	ask := func(id raft.ServerID) {
		var resp raft.AppendEntriesResponse
		if err := c.AppendEntries(id, "", &raft.AppendEntriesRequest{Term: term}, &resp); err != nil {
			t.Error(err)
		}
	}
	early := make(chan struct{})
	go func() { defer close(early); ask("b") }()
	<-asked // b has answered before the read began; the answer comes during it

	times := 0
	r := verified{&credulous{asked: func(times int) {
		switch times {
		case 1:
			close(held)
			<-early
		case 2: // a standby answers
			c.Transport = answering{answer: func() (uint64, bool) { return term, true }}
			ask("d")
		case 3: // a voter knows a newer leader
			c.Transport = answering{answer: func() (uint64, bool) { return term + 1, false }}
			ask("b")
		case 4:
			c.Transport = answering{answer: func() (uint64, bool) { return term, true }}
			ask("c")
		}
	}}, &times}
	reads := &reads{raft: r, self: "a", contacts: c, term: func() uint64 { return term }, done: func() uint64 { return 7 }}
	if index, err := reads.index(t.Context()); index != 7 || err != nil {
		t.Fatalf("got %d, %v", index, err)
	}
	if times != 4 {
		t.Fatalf("leadership was confirmed after %d rounds, only the fourth had a voter's answer", times)
	}
}
