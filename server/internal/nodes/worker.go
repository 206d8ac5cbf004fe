package nodes

import "sync"

// worker does something in a goroutine of its own whenever it is kicked, once at a time. While there is nothing to do it
// costs no goroutine, of which ten thousand sessions would have many.
type worker struct {
	mu      sync.Mutex
	do      func() // nil before begin
	running bool
	again   bool
	closed  bool
	done    sync.WaitGroup
}

// kick has it look for work: now, or again when it is at it.
func (w *worker) kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case w.running, w.do == nil:
		w.again = true
	default:
		w.running = true
		w.done.Go(w.run)
	}
}

// begin says what to do, and does it if it was kicked already.
func (w *worker) begin(do func()) {
	w.mu.Lock()
	w.do = do
	again := w.again
	w.again = false
	w.mu.Unlock()
	if again {
		w.kick()
	}
}

func (w *worker) run() {
	for more := true; more; {
		w.do()
		w.mu.Lock()
		more = w.again && !w.closed
		w.again, w.running = false, more
		w.mu.Unlock()
	}
}

// close lets no more begin and waits for what is under way.
func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.done.Wait()
}
