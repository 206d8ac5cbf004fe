package mirror

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// maxStates bounds one question for the state of logs.
const maxStates = 1000

// Service is what the other servers call. Who calls is a member: the peer port sees to that.
type Service struct {
	history *history.Store
	blobs   *blob.Store
}

var _ peerv1connect.StorageServiceHandler = (*Service)(nil)

// Service returns the peer service over this server's own stores.
func (m *Mirror) Service() *Service { return &Service{m.o.History, m.o.Blobs} }

// AppendLog stores lines of another server's.
func (s *Service) AppendLog(ctx context.Context, req *peerv1.AppendLogRequest) (*peerv1.AppendLogResponse, error) {
	b := history.NewBatch(req.GetSource(), req.GetAfter(), req.GetLines(), req.GetEof(), req.GetFull())
	acked, err := s.history.Replicate(ctx, req.GetLogId(), b)
	if err != nil {
		return nil, err
	}
	return &peerv1.AppendLogResponse{Acked: acked}, nil
}

// GetLogState tells how far this server has logs.
func (s *Service) GetLogState(ctx context.Context, req *peerv1.GetLogStateRequest) (*peerv1.GetLogStateResponse, error) {
	if len(req.GetLogIds()) > maxStates {
		return nil, fault.Invalid("log_ids", "at most %d at once", maxStates)
	}
	answer := &peerv1.GetLogStateResponse{}
	for _, id := range req.GetLogIds() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		state, err := s.history.State(id)
		if err != nil {
			return nil, err
		}
		if len(state) > 0 {
			answer.Logs = append(answer.Logs, packState(id, state))
		}
	}
	return answer, nil
}

func packState(id string, state history.State) *peerv1.LogState {
	out := &peerv1.LogState{LogId: id, Acked: map[string]uint64{}}
	for source, at := range state {
		out.Acked[source] = at.Acked
		if at.Ended {
			out.Ended = append(out.Ended, source)
		}
	}
	return out
}

// ReadLog sends what the caller lacks of a log.
func (s *Service) ReadLog(ctx context.Context, req *peerv1.ReadLogRequest, stream *connect.ServerStream[peerv1.ReadLogResponse]) error {
	for b, err := range s.history.Batches(ctx, req.GetLogId(), req.GetAfter()) {
		if err != nil {
			return err
		}
		if err := stream.Send(&peerv1.ReadLogResponse{Source: b.Source, After: b.After, Lines: b.Lines, Eof: b.EOF, Full: b.Full()}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// PutBlob stores an artifact here.
func (s *Service) PutBlob(ctx context.Context, stream *connect.ClientStream[peerv1.PutBlobRequest]) (*peerv1.PutBlobResponse, error) {
	if !stream.Receive() {
		return nil, errors.Join(fault.Invalid("digest", "nothing was sent"), stream.Err())
	}
	first := stream.Msg()
	body := &pieces{rest: first.GetData(), next: func() ([]byte, error) { return nextPiece(stream) }}
	if err := s.blobs.Put(ctx, first.GetDigest(), first.GetSize(), body); err != nil {
		return nil, err
	}
	return &peerv1.PutBlobResponse{}, nil
}

func nextPiece(stream *connect.ClientStream[peerv1.PutBlobRequest]) ([]byte, error) {
	if !stream.Receive() {
		return nil, stream.Err()
	}
	data := stream.Msg().GetData()
	if len(data) > pieceBytes {
		return nil, fault.Invalid("data", "a piece has at most %d bytes", pieceBytes)
	}
	return data, nil
}

// GetBlob sends an artifact that is here.
func (s *Service) GetBlob(_ context.Context, req *peerv1.GetBlobRequest, stream *connect.ServerStream[peerv1.GetBlobResponse]) error {
	info, err := s.blobs.Stat(req.GetDigest())
	if err != nil {
		return err
	}
	if req.GetOffset() < 0 || req.GetOffset() > info.Bytes {
		return fault.Invalid("offset", "%d is not in the artifact", req.GetOffset())
	}
	r, err := s.blobs.Get(req.GetDigest(), req.GetOffset())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // read only
	if err := stream.Send(&peerv1.GetBlobResponse{Size: info.Bytes}); err != nil {
		return err
	}
	return eachPiece(r, func(data []byte) error { return stream.Send(&peerv1.GetBlobResponse{Data: data}) })
}

// HasBlobs tells which of some artifacts are here.
func (s *Service) HasBlobs(_ context.Context, req *peerv1.HasBlobsRequest) (*peerv1.HasBlobsResponse, error) {
	if len(req.GetDigests()) > maxDigests {
		return nil, fault.Invalid("digests", "at most %d at once", maxDigests)
	}
	answer := &peerv1.HasBlobsResponse{}
	for _, digest := range req.GetDigests() {
		_, err := s.blobs.Stat(digest)
		if err == nil {
			answer.Digests = append(answer.Digests, digest)
			continue
		}
		if !errors.Is(err, fault.KindNotFound) {
			return nil, err
		}
	}
	return answer, nil
}

var _ io.Reader = (*pieces)(nil)
