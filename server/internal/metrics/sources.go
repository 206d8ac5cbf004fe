package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Raft is where a server stands in the replication.
type Raft struct {
	Leader       bool
	Term         uint64
	Commit       uint64
	Applied      uint64
	Last         uint64
	Snapshot     uint64
	SinceContact time.Duration // since a leader was heard of; 0 if it leads
	Voters       int
	Members      int
	Queue        int // changes that wait for an entry
	InFlight     int // entries that wait for a majority
}

// Sources are asked when somebody looks. One that is nil is not there, nor are its metrics.
type Sources struct {
	Raft       func() Raft
	Sessions   func() int                                        // agents with a session here
	Watchers   func() int                                        // open streams of people
	Running    func() int                                        // calls of people that run or wait
	Tasks      func(ctx context.Context) (map[string]int, error) // by state; asked every 15 s at most
	DiskFree   func() (uint64, error)                            // bytes, where the data is
	LastBackup func() time.Time                                  // that succeeded; zero for none
	LogDropped func() map[string]uint64                          // lines, by file
}

// Watch adds the numbers of sources. It is called once.
func (m *Metrics) Watch(s Sources) {
	l := &looker{tasks: s.Tasks}
	l.raft(s.Raft)
	l.count(s.Sessions, "gestor_sessions", "Agents with a session at this server.")
	l.count(s.Watchers, "gestor_watchers", "Open streams of people at this server.")
	l.count(s.Running, "gestor_calls_running", "Calls of people that run or wait for a place at this server.")
	if s.DiskFree != nil {
		l.add("gestor_disk_free_bytes", "Free bytes on the file system of the data directory.", func() (float64, bool) {
			free, err := s.DiskFree()
			return float64(free), err == nil
		})
	}
	if s.LastBackup != nil {
		l.add("gestor_backup_last_success_timestamp", "When the last scheduled backup succeeded, in seconds since 1970; 0 for never.", func() (float64, bool) {
			last := s.LastBackup()
			if last.IsZero() {
				return 0, true
			}
			return float64(last.UnixMilli()) / 1000, true
		})
	}
	if s.Tasks != nil {
		l.several("gestor_tasks", "Tasks by state, of all tenants.", "state", prometheus.GaugeValue, l.taskCounts)
	}
	if s.LogDropped != nil {
		l.several("gestor_log_lines_dropped_total", "Lines of log files that the disk did not take in time.", "file", prometheus.CounterValue,
			func() map[string]float64 {
				out := map[string]float64{}
				for file, n := range s.LogDropped() {
					out[file] = float64(n)
				}
				return out
			})
	}
	m.registry.MustRegister(l)
}

// looker asks the sources when it is looked at.
type looker struct {
	series []series
	tasks  func(ctx context.Context) (map[string]int, error)

	mu      sync.Mutex
	counted time.Time          // guarded by mu
	counts  map[string]float64 // guarded by mu
}

// series is one metric and how it is read.
type series struct {
	desc *prometheus.Desc
	emit func(desc *prometheus.Desc, out chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (l *looker) Describe(out chan<- *prometheus.Desc) {
	for _, s := range l.series {
		out <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (l *looker) Collect(out chan<- prometheus.Metric) {
	for _, s := range l.series {
		s.emit(s.desc, out)
	}
}

// add adds a number; one that cannot be read now is left out.
func (l *looker) add(name, help string, read func() (float64, bool)) {
	l.series = append(l.series, series{prometheus.NewDesc(name, help, nil, nil), func(d *prometheus.Desc, out chan<- prometheus.Metric) {
		if v, ok := read(); ok {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
		}
	}})
}

func (l *looker) several(name, help, label string, kind prometheus.ValueType, read func() map[string]float64) {
	desc := prometheus.NewDesc(name, help, []string{label}, nil)
	l.series = append(l.series, series{desc, func(d *prometheus.Desc, out chan<- prometheus.Metric) {
		for value, v := range read() {
			out <- prometheus.MustNewConstMetric(d, kind, v, value)
		}
	}})
}

func (l *looker) count(read func() int, name, help string) {
	if read != nil {
		l.add(name, help, func() (float64, bool) { return float64(read()), true })
	}
}

func (l *looker) raft(read func() Raft) {
	if read == nil {
		return
	}
	for _, of := range []struct {
		name, help string
		value      func(Raft) float64
	}{
		{"gestor_raft_leader", "1 if this server leads.", func(r Raft) float64 { return truth(r.Leader) }},
		{"gestor_raft_term", "The term of the newest election this server knows of.", func(r Raft) float64 { return float64(r.Term) }},
		{"gestor_raft_commit_index", "The last committed entry of the log this server knows of.", func(r Raft) float64 { return float64(r.Commit) }},
		{"gestor_raft_applied_index", "The last entry of the log that is in this server's state.", func(r Raft) float64 { return float64(r.Applied) }},
		{"gestor_raft_last_index", "The last entry in this server's log.", func(r Raft) float64 { return float64(r.Last) }},
		{"gestor_raft_snapshot_index", "The last entry in this server's newest snapshot.", func(r Raft) float64 { return float64(r.Snapshot) }},
		{"gestor_raft_last_contact_seconds", "How long ago this server heard of a leader; 0 if it leads.", func(r Raft) float64 { return r.SinceContact.Seconds() }},
		{"gestor_raft_voters", "How many servers vote, as far as this one knows.", func(r Raft) float64 { return float64(r.Voters) }},
		{"gestor_raft_members", "How many servers replicate, as far as this one knows.", func(r Raft) float64 { return float64(r.Members) }},
		{"gestor_queue_length", "Changes that wait for an entry of the log.", func(r Raft) float64 { return float64(r.Queue) }},
		{"gestor_entries_in_flight", "Entries of the log that wait for a majority.", func(r Raft) float64 { return float64(r.InFlight) }},
	} {
		l.add(of.name, of.help, func() (float64, bool) { return of.value(read()), true })
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	countAgain = 15 * time.Second // how long counts of tasks are good
	countLimit = 5 * time.Second  // how long counting may take
)

// taskCounts counts the tasks, or says what was counted a moment ago.
func (l *looker) taskCounts() map[string]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts != nil && time.Since(l.counted) < countAgain {
		return l.counts
	}
	ctx, cancel := context.WithTimeout(context.Background(), countLimit) // a collector has no caller
	defer cancel()
	counts, err := l.tasks(ctx)
	if err != nil {
		return nil
	}
	l.counts, l.counted = map[string]float64{}, time.Now()
	for state, n := range counts {
		l.counts[state] = float64(n)
	}
	return l.counts
}
