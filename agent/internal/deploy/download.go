package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
)

// download reads a blob that may break off, going on where it did. It gives up after a few breaks without a byte.
type download struct {
	ctx    context.Context //nolint:containedctx // lives for one task
	get    func(offset int64) (io.ReadCloser, error)
	size   int64 // 0 if unknown
	offset int64
	body   io.ReadCloser
	breaks int
}

const mostBreaks = 5

// Read returns an error that is retryable when the servers cannot be reached.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.size > 0 && d.offset >= d.size { // all is there, however the transfer ends
			return 0, io.EOF
		}
		n, err := d.try(p)
		d.offset += int64(n)
		if n > 0 {
			d.breaks = 0
			return n, nil
		}
		if errors.Is(err, io.EOF) && d.size == 0 {
			return 0, io.EOF
		}
		if err == nil {
			continue
		}
		_ = d.Close()
		if kind := fault.KindOf(err); kind == fault.KindNotFound || kind == fault.KindDenied {
			return 0, fmt.Errorf("download artifact: %w", err)
		}
		d.breaks++
		if d.breaks > mostBreaks || !pause(d.ctx, time.Duration(d.breaks*d.breaks)*100*time.Millisecond) {
			return 0, task.Retryable(fmt.Errorf("download artifact: %w", err))
		}
	}
}

func (d *download) try(p []byte) (int, error) {
	if d.body == nil {
		body, err := d.get(d.offset)
		if err != nil {
			return 0, err
		}
		d.body = body
	}
	return d.body.Read(p)
}

// Close ends the transfer.
func (d *download) Close() error {
	if d.body == nil {
		return nil
	}
	err := d.body.Close()
	d.body = nil
	return err
}
