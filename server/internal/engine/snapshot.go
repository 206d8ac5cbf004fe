package engine

import (
	"errors"
	"io"
)

// WriteSnapshot writes the state this server has now, as snapshots on disk hold it; see Barrier. Writing goes on
// meanwhile.
func (e *Engine) WriteSnapshot(w io.Writer) error {
	s, err := e.fsm.Snapshot()
	if err != nil {
		return err
	}
	return errors.Join(s.Write(w), s.Release())
}
