package mirror

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// Bounds of what waits for one server, and of what is under way to it.
const (
	queueBytes  = 8 << 20 // of lines in memory; beyond it they are read from the file again
	queueKeys   = 20000   // logs; what is beyond is found by looking for what is missing
	callsAtOnce = 8       // of log lines; each is of another log
	blobsAtOnce = 2
	callBytes   = 1 << 20
	callLimit   = 5 * time.Second
	pingLimit   = 2 * time.Second
	pingEvery   = 5 * time.Second
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 2 * time.Second
)

// link is the way to one server, and what waits for it.
type link struct {
	m      *Mirror
	server string
	cancel context.CancelFunc
	token  chan struct{} // there may be something to send
	failed chan struct{} // a call found the server gone
	blobs  chan struct{} // one for each artifact under way

	mu      sync.Mutex
	queues  map[key]*queue // guarded by mu
	order   []key          // guarded by mu; those that wait for a worker
	bytes   int            // guarded by mu
	down    bool           // guarded by mu
	since   time.Time      // guarded by mu; when it last answered, zero if it never did
	refuses bool           // guarded by mu; it answers, and does not store what it is sent
}

// queue is what waits of one log.
type queue struct {
	batches []history.Batch
	bytes   int
	behind  bool // batches are not all: the file has to be read
	busy    bool // a worker has it
	listed  bool // it is in link.order
}

// newLink begins to talk to a server.
func newLink(ctx context.Context, m *Mirror, server string) *link {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{
		m: m, server: server, cancel: cancel, token: make(chan struct{}, 1), failed: make(chan struct{}, 1),
		blobs: make(chan struct{}, blobsAtOnce), queues: map[key]*queue{},
	}
	m.copying.Go(func() { l.watch(ctx) })
	for range callsAtOnce {
		m.copying.Go(func() { l.send(ctx) })
	}
	return l
}

// storage is the server's service. Artifacts are compressed already, and lines cross a fast network.
func (l *link) storage() (peerv1connect.StorageServiceClient, error) {
	c, err := l.m.o.Peers.Client(l.server)
	if err != nil {
		return nil, err
	}
	o := append([]connect.ClientOption{connect.WithAcceptCompression("gzip", nil, nil)}, c.Options...)
	return peerv1connect.NewStorageServiceClient(c.HTTP, c.URL, o...), nil
}

// offer queues a batch.
func (l *link) offer(k key, b history.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue(k)
	if q == nil {
		return
	}
	n := b.Bytes()
	switch {
	case q.behind:
	case l.down || l.bytes+n > queueBytes:
		l.spill(q)
	default:
		q.batches, q.bytes, l.bytes = append(q.batches, b), q.bytes+n, l.bytes+n
	}
	l.list(k, q)
}

// behind has a log brought up from its file.
func (l *link) behind(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue(k)
	if q == nil || q.busy || q.listed {
		return // it is under way
	}
	l.spill(q)
	l.list(k, q)
}

// queue returns a key's queue, nil if there are too many. l.mu is held.
func (l *link) queue(k key) *queue {
	q := l.queues[k]
	if q == nil && len(l.queues) < queueKeys {
		q = &queue{}
		l.queues[k] = q
	}
	return q
}

// spill gives up the batches in memory. l.mu is held.
func (l *link) spill(q *queue) {
	l.bytes -= q.bytes
	q.batches, q.bytes, q.behind = nil, 0, true
}

// list has a worker take a queue. l.mu is held.
func (l *link) list(k key, q *queue) {
	if q.listed || q.busy {
		return
	}
	q.listed = true
	l.order = append(l.order, k)
	l.nudge()
}

func (l *link) nudge() {
	select {
	case l.token <- struct{}{}:
	default:
	}
}

// job is what a worker has taken.
type job struct {
	key     key
	batches []history.Batch
	behind  bool
}

// take returns the next job; false if there is none, or the server does not answer.
func (l *link) take() (job, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || len(l.order) == 0 {
		return job{}, false
	}
	k := l.order[0]
	l.order = l.order[1:]
	if len(l.order) > 0 {
		l.nudge()
	}
	q := l.queues[k]
	j := job{key: k, batches: q.batches, behind: q.behind}
	l.bytes -= q.bytes
	q.batches, q.bytes, q.behind, q.busy, q.listed = nil, 0, false, true, false
	return j, true
}

// finish gives a job back. What failed waits for the next round.
func (l *link) finish(k key, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[k]
	q.busy = false
	switch {
	case err != nil:
		l.spill(q)
	case q.behind || len(q.batches) > 0:
		l.list(k, q)
	default:
		delete(l.queues, k)
	}
}

// send carries jobs out until ctx ends.
func (l *link) send(ctx context.Context) {
	for {
		j, ok := l.take()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-l.token:
			}
			continue
		}
		err := l.carry(ctx, j)
		l.finish(j.key, err)
		if ctx.Err() == nil {
			l.judge(err)
		}
	}
}

// judge says once that a server does not store what it is sent, and has a look whether it is gone.
func (l *link) judge(err error) {
	outage := err != nil && isOutage(err)
	l.mu.Lock()
	began := err != nil && !outage && !l.refuses
	l.refuses = err != nil && !outage
	l.mu.Unlock()
	if began {
		l.m.log.Warn("another server did not store log lines; they are sent again", "server", l.server, "err", err)
	}
	if !outage {
		return
	}
	select {
	case l.failed <- struct{}{}:
	default:
	}
	l.setDown(err)
}

// isOutage tells a server that is away from one that says no.
func isOutage(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindTimeout, fault.KindCancelled:
		return true
	default:
		return false
	}
}

func (l *link) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *link) setDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		l.down = true
		l.m.log.Warn("another server does not answer; it gets logs and artifacts when it is back", "server", l.server, "err", err)
	}
}

// setUp notes that the server answers, and has what waited sent again.
func (l *link) setUp() {
	l.mu.Lock()
	back, since := l.down, l.since
	l.down, l.since = false, time.Now()
	for k, q := range l.queues {
		if q.behind {
			l.list(k, q)
		}
	}
	l.nudge()
	l.mu.Unlock()
	if back {
		l.m.log.Info("another server answers again", "server", l.server, "away", time.Since(since).String())
		l.m.lookSince(since)
	}
}

// watch asks the server now and then whether it is there, more often while it is not.
func (l *link) watch(ctx context.Context) {
	retry := firstRetry
	for {
		wait := pingEvery
		if err := l.ping(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			l.setDown(err)
			wait, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
			l.setUp()
		}
		if !l.pause(ctx, wait) {
			return
		}
	}
}

// pause waits, less if a call fails meanwhile, and looks after what failed; false if ctx is over.
func (l *link) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-l.failed:
			timer.Reset(min(d, firstRetry))
		case <-again.C:
			l.relist()
		}
	}
}

// relist has what failed tried again.
func (l *link) relist() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return
	}
	for k, q := range l.queues {
		if q.behind {
			l.list(k, q)
		}
	}
}

func (l *link) ping(ctx context.Context) error {
	c, err := l.storage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	_, err = c.HasBlobs(ctx, &peerv1.HasBlobsRequest{})
	return err
}
