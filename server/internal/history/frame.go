package history

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// A log file is a row of frames: length and CRC-32C of the payload, little endian, then the payload. The payload is a
// length-prefixed source, the source's count at the last line, and the lines as agentv1.PushLogsRequest.

const (
	headerBytes  = 8
	maxFrame     = 8 << 20
	maxSourceLen = 255
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn means that a file ends, or is damaged, inside a frame.
var errTorn = errors.New("torn frame")

func (b Batch) encode() ([]byte, error) {
	buf := make([]byte, headerBytes, 512)
	buf = append(buf, byte(len(b.Source)))
	buf = append(buf, b.Source...)
	buf = binary.LittleEndian.AppendUint64(buf, b.Acked)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, &agentv1.PushLogsRequest{Lines: b.Lines, Eof: b.EOF})
	if err != nil {
		return nil, fmt.Errorf("encode log lines: %w", err)
	}
	payload := buf[headerBytes:]
	if len(payload) > maxFrame {
		return nil, fmt.Errorf("log chunk of %d bytes is too large", len(payload))
	}
	binary.LittleEndian.PutUint32(buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(payload, castagnoli))
	return buf, nil
}

// readFrame reads the next frame and how many bytes it took: io.EOF at the end, errTorn if the rest is not a frame.
func readFrame(r *bufio.Reader) (Batch, int64, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errTorn
		}
		return Batch{}, 0, err
	}
	size := binary.LittleEndian.Uint32(header[:])
	if size > maxFrame {
		return Batch{}, 0, errTorn
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errTorn
		}
		return Batch{}, 0, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return Batch{}, 0, errTorn
	}
	b, err := decode(payload)
	return b, headerBytes + int64(size), err
}

func decode(payload []byte) (Batch, error) {
	if len(payload) < 1 || len(payload) < 1+int(payload[0])+8 {
		return Batch{}, errTorn
	}
	n := 1 + int(payload[0])
	b := Batch{Source: string(payload[1:n]), Acked: binary.LittleEndian.Uint64(payload[n:])}
	var m agentv1.PushLogsRequest
	if err := proto.Unmarshal(payload[n+8:], &m); err != nil {
		return Batch{}, errTorn
	}
	b.Lines, b.EOF = m.GetLines(), m.GetEof()
	return b, nil
}
