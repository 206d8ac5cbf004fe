package logs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// spool is one log on disk: segments of framed messages, named by their first line. The store's lock guards it.
type spool struct {
	id       string
	dir      string
	segments []*segment // oldest first; the last one is written to while the log is open
	last     uint64     // sequence number of the last line
	attempt  int32      // of the task, that the last line is from
	open     bool
	whole    bool // it got its last line

	// What the present connection knows.
	sent    uint64 // the last line sent
	acked   uint64 // the last line acknowledged
	eofSent bool
	reading *segment // where the next message comes from
	offset  int64
}

type segment struct {
	owner *spool
	path  string
	first uint64
	size  int64
	made  time.Time
}

const suffix = ".log"

func (g *segment) current() bool {
	return g.owner.open && g == g.owner.segments[len(g.owner.segments)-1]
}

// end is the sequence number of the segment's last line.
func (g *segment) end() uint64 {
	i := slices.Index(g.owner.segments, g)
	if i+1 < len(g.owner.segments) {
		return g.owner.segments[i+1].first - 1
	}
	return g.owner.last
}

// load reads what an earlier run left: names, and of the last segment how far it is good.
func (p *spool) load() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == wholeName {
			p.whole = true
		}
		first, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), suffix), 10, 64)
		if err != nil || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		p.segments = append(p.segments, &segment{
			owner: p, path: filepath.Join(p.dir, e.Name()), first: first, size: info.Size(), made: info.ModTime(),
		})
	}
	slices.SortFunc(p.segments, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	if len(p.segments) == 0 {
		return nil
	}
	return p.mend(p.segments[len(p.segments)-1])
}

// mend cuts a torn end off the last segment and finds the last line.
func (p *spool) mend(g *segment) error {
	p.last = g.first - 1
	var good int64
	for {
		m, n, err := readMessage(g.path, good)
		if err != nil || m == nil {
			break
		}
		good += n
		p.last, p.attempt = lastSeq(m), m.GetAttempt()
	}
	g.size = good
	return os.Truncate(g.path, good)
}

func lastSeq(m *agentv1.PushLogsRequest) uint64 {
	if len(m.GetLines()) == 0 {
		return 0
	}
	return m.GetLines()[len(m.GetLines())-1].GetSeq()
}

// append writes a message; it returns the segment if it is a new one, and the bytes written.
func (p *spool) append(m *agentv1.PushLogsRequest, maxBytes int64) (made *segment, n int64, err error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, 0, fmt.Errorf("encode log lines: %w", err)
	}
	g := p.tail()
	if g == nil || g.size+int64(len(b)) > maxBytes {
		first := m.GetLines()[0].GetSeq()
		g = &segment{owner: p, path: filepath.Join(p.dir, fmt.Sprintf("%020d%s", first, suffix)), first: first, made: time.Now()}
		made = g
	}
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b)))
	if err := writeAt(g.path, g.size, append(frame, b...)); err != nil {
		return nil, 0, err
	}
	g.size += int64(len(b)) + 4
	if made != nil {
		p.segments = append(p.segments, made)
	}
	p.last = lastSeq(m)
	return made, int64(len(b)) + 4, nil
}

func (p *spool) tail() *segment {
	if len(p.segments) == 0 {
		return nil
	}
	return p.segments[len(p.segments)-1]
}

func writeAt(path string, offset int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, offset); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// readMessage reads the message at offset; nil at the end.
func readMessage(path string, offset int64) (*agentv1.PushLogsRequest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	var head [4]byte
	if _, err := f.ReadAt(head[:], offset); err != nil {
		return nil, 0, ignoreEOF(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > 2*maxSegment {
		return nil, 0, fmt.Errorf("log segment %s is damaged at byte %d", path, offset)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset+4); err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	m := &agentv1.PushLogsRequest{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	return m, int64(n) + 4, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // ReadAt returns it bare
		return nil
	}
	return err
}

// rewind prepares for a new connection: everything not acknowledged is sent again.
func (p *spool) rewind() {
	p.sent, p.eofSent, p.reading, p.offset = p.acked, false, nil, 0
}

// next returns the next message to send, nil if there is none now.
func (p *spool) next() *agentv1.PushLogsRequest {
	for p.last > p.sent && p.seek() {
		m, n, err := readMessage(p.reading.path, p.offset)
		if err != nil || m == nil { // damaged by a crash: go on after it, as a gap
			p.sent, p.reading = max(p.sent, p.reading.end()), nil
			continue
		}
		p.offset += n
		if last := lastSeq(m); last > p.sent {
			p.announceGap(m)
			p.sent = last
			return p.withEnd(m)
		}
	}
	if p.whole && !p.eofSent {
		return p.withEnd(&agentv1.PushLogsRequest{LogId: p.id, Attempt: p.attempt})
	}
	return nil
}

// seek makes reading the segment in which the line after sent is, or the first after it.
func (p *spool) seek() bool {
	if p.reading != nil && slices.Contains(p.segments, p.reading) && p.offset < p.reading.size {
		return true
	}
	for _, g := range p.segments {
		if g.end() > p.sent && g != p.reading {
			p.reading, p.offset = g, 0
			return true
		}
	}
	return false
}

// announceGap puts a line of Gestor's in place of the last line missing before m.
func (p *spool) announceGap(m *agentv1.PushLogsRequest) {
	first := m.GetLines()[0]
	if first.GetSeq() <= p.sent+1 {
		return
	}
	gap := &gestorv1.LogLine{
		Seq: first.GetSeq() - 1, At: first.GetAt(), Stream: gestorv1.LogStream_LOG_STREAM_GESTOR, Phase: first.GetPhase(),
		Text: fmt.Sprintf(ownWarning, first.GetSeq()-1-p.sent),
	}
	m.Lines = append([]*gestorv1.LogLine{gap}, m.GetLines()...)
}

func (p *spool) withEnd(m *agentv1.PushLogsRequest) *agentv1.PushLogsRequest {
	if p.whole && p.sent >= p.last {
		m.Eof, p.eofSent = true, true
	}
	return m
}
