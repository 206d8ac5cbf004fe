package session

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const (
	blobPiece   = 256 << 10 // bytes per message
	blobRetries = 5         // attempts after errors of the server, other than not being there
)

// Blobs moves artifacts to and from the control servers. While no server can be reached both methods wait, until ctx ends.
type Blobs interface {
	// Put stores size bytes of r under their SHA-256. If r is no io.Seeker a transfer that breaks is not tried again.
	Put(ctx context.Context, taskID string, fence uint64, digest string, size int64, r io.Reader) error
	// Get reads a blob from offset on; a transfer that breaks goes on where it was. The caller checks the digest.
	Get(ctx context.Context, taskID string, fence uint64, digest string, offset int64) (io.ReadCloser, error)
}

var _ Blobs = (*Session)(nil)

// Put implements Blobs.
func (s *Session) Put(ctx context.Context, taskID string, fence uint64, digest string, size int64, r io.Reader) error {
	first := &agentv1.PutBlobRequest{Digest: digest, Size: size, TaskId: taskID, Fence: fence}
	seeker, again := r.(io.Seeker)
	for tries := 1; ; tries++ {
		err := s.putOnce(ctx, first, r)
		if err == nil {
			return nil
		}
		if !again || !worthRetrying(ctx, err, tries) {
			return fmt.Errorf("upload %.12s: %w", digest, err)
		}
		pause(ctx, delay(err, tries, 1))
		if _, err := seeker.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("upload %.12s: %w", digest, err)
		}
	}
}

func (s *Session) putOnce(ctx context.Context, first *agentv1.PutBlobRequest, r io.Reader) error {
	link, err := s.waitLink(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := link.PutBlob(ctx)
	if err != nil {
		return err
	}
	if err := sendBlob(stream, first, r); err != nil {
		cancel()
		_, _ = stream.CloseAndReceive() // ends the request's body, and with it the stream
		return err
	}
	_, err = stream.CloseAndReceive()
	return err
}

func sendBlob(stream *connect.ClientStreamForClientSimple[agentv1.PutBlobRequest, agentv1.PutBlobResponse],
	first *agentv1.PutBlobRequest, r io.Reader,
) error {
	m := &agentv1.PutBlobRequest{Digest: first.GetDigest(), Size: first.GetSize(), TaskId: first.GetTaskId(), Fence: first.GetFence()}
	if err := stream.Send(m); err != nil {
		return endOfStream(err)
	}
	piece := make([]byte, blobPiece)
	for {
		n, err := io.ReadFull(r, piece)
		if n > 0 {
			if err := stream.Send(&agentv1.PutBlobRequest{Data: piece[:n]}); err != nil {
				return endOfStream(err)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return &localError{err}
		}
	}
}

// endOfStream lets CloseAndReceive tell why the server ended a stream: it may simply have the blob already.
func endOfStream(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// localError is trouble on this host, which no other attempt heals.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func worthRetrying(ctx context.Context, err error, tries int) bool {
	if _, local := errors.AsType[*localError](err); local || ctx.Err() != nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindTimeout, fault.KindCancelled: // cancelled by the end of the session, not by ctx
		return true
	case fault.KindInternal, fault.KindExhausted:
		return tries < blobRetries
	default:
		return false
	}
}

// Get implements Blobs.
func (s *Session) Get(ctx context.Context, taskID string, fence uint64, digest string, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &blobReader{s: s, ctx: ctx, cancel: cancel, request: &agentv1.GetBlobRequest{
		Digest: digest, Offset: offset, TaskId: taskID, Fence: fence,
	}}
	if err := b.fill(); err != nil && !errors.Is(err, io.EOF) {
		cancel()
		return nil, err
	}
	return b, nil
}

// blobReader reads a blob over as many streams as it takes. One goroutine uses it.
type blobReader struct {
	s       *Session
	ctx     context.Context //nolint:containedctx // a reader's lifetime is its context's
	cancel  context.CancelFunc
	request *agentv1.GetBlobRequest
	stream  *connect.ServerStreamForClient[agentv1.GetBlobResponse]
	data    []byte
	tries   int
	ended   bool
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

// Close ends the transfer.
func (b *blobReader) Close() error {
	b.cancel()
	b.drop()
	return nil
}

func (b *blobReader) drop() {
	if b.stream != nil {
		_ = b.stream.Close()
		b.stream = nil
	}
}

// fill waits for data, opening streams as needed.
func (b *blobReader) fill() error {
	for len(b.data) == 0 {
		if b.ended {
			return io.EOF
		}
		err := b.receive()
		if err == nil {
			continue
		}
		b.drop()
		b.tries++
		if !worthRetrying(b.ctx, err, b.tries) {
			return fmt.Errorf("download %.12s: %w", b.request.GetDigest(), err)
		}
		pause(b.ctx, delay(err, min(b.tries, 6), 1))
	}
	return nil
}

func (b *blobReader) receive() error {
	if b.stream == nil {
		link, err := b.s.waitLink(b.ctx)
		if err != nil {
			return err
		}
		if b.stream, err = link.GetBlob(b.ctx, b.request); err != nil {
			b.stream = nil
			return err
		}
	}
	if !b.stream.Receive() {
		err := b.stream.Err()
		b.ended = err == nil
		return err
	}
	b.data, b.tries = b.stream.Msg().GetData(), 0
	b.request.Offset += int64(len(b.data))
	return nil
}
