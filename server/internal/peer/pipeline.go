package peer

import (
	"time"

	"github.com/hashicorp/raft"
)

// transport is Raft's, with pipelines that cannot hang.
type transport struct {
	*raft.NetworkTransport
	patience time.Duration // longer than any answer may take
}

// AppendEntriesPipeline implements raft.Transport.
func (t transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return pipeline{p, t.patience}, nil
}

// pipeline ends itself where a request can be handed to nobody: Raft stops to read answers when another server leads, and
// a request that it sends at that moment would wait for ever, and with it whoever closes the server.
type pipeline struct {
	raft.AppendPipeline
	patience time.Duration
}

// AppendEntries implements raft.AppendPipeline.
func (p pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	timer := time.AfterFunc(p.patience, func() { _ = p.Close() })
	defer timer.Stop()
	return p.AppendPipeline.AppendEntries(args, resp)
}
