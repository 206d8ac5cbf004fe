package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
)

const (
	pieceBytes   = 1 << 20
	maxDigests   = 10000
	copyAttempts = 3
	copyRetry    = time.Second
	copyLimit    = 2 * time.Minute // of one copy, and what its bytes take at slowest
	slowest      = 1 << 20         // bytes a second
)

// Put stores the size bytes of r, which must have the digest, here and on enough others; the rest get it meanwhile.
// An artifact that is here already is not read from r.
func (m *Mirror) Put(ctx context.Context, digest string, size int64, r io.Reader) error {
	if err := m.o.Blobs.Put(ctx, digest, size, r); err != nil {
		return err
	}
	info, err := m.o.Blobs.Stat(digest)
	if err != nil {
		return err
	}
	t := m.newTally()
	results := m.copyAll(digest, info.Bytes)
	var errs []error
	for range cap(results) {
		if t.enough() {
			return nil
		}
		select {
		case r := <-results:
			if r.err != nil {
				errs = append(errs, r.err)
				continue
			}
			t.add(r.server)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if t.enough() {
		return nil
	}
	return fault.Unavailable("artifact %s is on %d of the %d servers that must have it", digest, t.have, t.roster.need).
		WithFix("it is sent again; if this stays, see which servers are down or have a full disk with \"gestor servers list\"").
		WithRetryAfter(5 * time.Second).WithCause(errors.Join(errs...))
}

// copied is how a copy went.
type copied struct {
	server string
	err    error
}

// copyAll begins to copy an artifact to all others. There is one result for each.
func (m *Mirror) copyAll(digest string, size int64) <-chan copied {
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make(chan copied, len(m.links))
	for _, l := range m.links {
		m.copying.Go(func() { results <- copied{l.server, l.copyBlob(m.work, digest, size)} })
	}
	return results
}

// copyBlob sends an artifact to the server, more than once if it does not answer.
func (l *link) copyBlob(ctx context.Context, digest string, size int64) (err error) {
	for attempt := range copyAttempts {
		if attempt > 0 && pause(ctx, copyRetry) != nil {
			return err
		}
		if err = l.putBlob(ctx, digest, size); err == nil || !isOutage(err) {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		l.m.log.Warn("artifact not copied to another server; it gets it later", "server", l.server, "digest", digest, "err", err)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// putBlob sends an artifact that the server lacks.
func (l *link) putBlob(ctx context.Context, digest string, size int64) error {
	there, err := l.has(ctx, digest)
	if err != nil || len(there) > 0 {
		return err
	}
	select {
	case l.blobs <- struct{}{}:
		defer func() { <-l.blobs }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := l.storage()
	if err != nil {
		return err
	}
	r, err := l.m.o.Blobs.Get(digest, 0)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // read only
	ctx, cancel := context.WithTimeout(ctx, copyLimit+time.Duration(size/slowest)*time.Second)
	defer cancel()
	stream, err := c.PutBlob(ctx)
	if err != nil {
		return err
	}
	sendErr := sendBlob(stream, digest, size, r)
	if _, err := stream.CloseAndReceive(); err != nil {
		return fmt.Errorf("copy artifact: %w", err) // says why the sending broke off, too
	}
	return sendErr
}

type upload = connect.ClientStreamForClientSimple[peerv1.PutBlobRequest, peerv1.PutBlobResponse]

func sendBlob(stream *upload, digest string, size int64, r io.Reader) error {
	first := &peerv1.PutBlobRequest{Digest: digest, Size: size}
	if err := stream.Send(first); err != nil {
		return err
	}
	return eachPiece(r, func(data []byte) error { return stream.Send(&peerv1.PutBlobRequest{Data: data}) })
}

// eachPiece hands what r has to send, piece by piece.
func eachPiece(r io.Reader, send func([]byte) error) error {
	buf := make([]byte, pieceBytes)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read artifact: %w", err)
		}
	}
}

// Get opens an artifact at offset, after it was fetched if it is only on another server.
func (m *Mirror) Get(digest string, offset int64) (io.ReadCloser, error) {
	r, err := m.o.Blobs.Get(digest, offset)
	if !errors.Is(err, fault.KindNotFound) || len(m.known().others) == 0 {
		return r, err
	}
	// Whoever asks for it meanwhile waits for the same copy.
	if _, err, _ := m.fetches.Do(digest, func() (any, error) { return nil, m.fetch(m.work, digest) }); err != nil {
		return nil, err
	}
	return m.o.Blobs.Get(digest, offset)
}

// fetch gets an artifact from whoever has it.
func (m *Mirror) fetch(ctx context.Context, digest string) error {
	t := m.newTally()
	for _, l := range m.reachable() {
		there, err := l.has(ctx, digest)
		if err == nil && len(there) > 0 {
			err = l.fetchBlob(ctx, digest)
			if err == nil {
				return nil
			}
		}
		if err != nil {
			m.log.Warn("could not get an artifact from another server", "server", l.server, "digest", digest, "err", err)
			continue
		}
		t.add(l.server)
	}
	return absent(t, digest)
}

// absent is the refusal of an artifact that nobody who answered has.
func absent(t *tally, digest string) error {
	if t.enough() {
		return fault.NotFound("artifact %s is on no server", digest)
	}
	return fault.Unavailable("artifact %s is on none of the servers that answer", digest).WithRetryAfter(5 * time.Second)
}

// Stat describes an artifact; fault.KindNotFound if it is on no server. Of one that is on another server alone only the
// digest is told. It is an error if too few servers answer to tell.
func (m *Mirror) Stat(digest string) (blob.Info, error) {
	info, err := m.o.Blobs.Stat(digest)
	if !errors.Is(err, fault.KindNotFound) || len(m.known().others) == 0 {
		return info, err
	}
	t := m.newTally()
	for _, l := range m.reachable() {
		there, err := l.has(m.work, digest)
		if err != nil {
			continue // not counted
		}
		if len(there) > 0 {
			return blob.Info{Digest: digest}, nil
		}
		t.add(l.server)
	}
	return blob.Info{}, absent(t, digest)
}

// fetchBlob gets an artifact from the server.
func (l *link) fetchBlob(ctx context.Context, digest string) error {
	c, err := l.storage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.GetBlob(ctx, &peerv1.GetBlobRequest{Digest: digest})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // how it went is known by then
	if !stream.Receive() {
		return errors.Join(fault.Unavailable("server %s sent nothing of artifact %s", l.server, digest), stream.Err())
	}
	first := stream.Msg()
	idle := time.AfterFunc(pieceLimit, cancel)
	defer idle.Stop()
	return l.m.o.Blobs.Put(ctx, digest, first.GetSize(), &pieces{next: func() ([]byte, error) {
		idle.Reset(pieceLimit)
		if !stream.Receive() {
			return nil, errors.Join(stream.Err())
		}
		return stream.Msg().GetData(), nil
	}, rest: first.GetData()})
}

// pieceLimit is how long the next piece of an artifact may take.
const pieceLimit = 15 * time.Second

// pieces reads what comes in messages. next returns nothing at the end.
type pieces struct {
	next func() ([]byte, error)
	rest []byte
}

// Read implements io.Reader.
func (p *pieces) Read(buf []byte) (int, error) {
	for len(p.rest) == 0 {
		data, err := p.next()
		if err != nil {
			return 0, fmt.Errorf("receive artifact: %w", err)
		}
		if data == nil {
			return 0, io.EOF
		}
		p.rest = data
	}
	n := copy(buf, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
