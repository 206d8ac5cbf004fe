package peer

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestPipeline_EndsWhenNobodyReadsItsAnswers(t *testing.T) {
	var ends []*raft.NetworkTransport
	for range 2 {
		end, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Second, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = end.Close() }()
		ends = append(ends, end)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case rpc := <-ends[1].Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			case <-done:
				return
			}
		}
	}()
	p, err := transport{ends[0], 100 * time.Millisecond}.AppendEntriesPipeline("b", ends[1].LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, raft.ErrPipelineShutdown) {
			t.Errorf("got %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for ever")
	}
}
