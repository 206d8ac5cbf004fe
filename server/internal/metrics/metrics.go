// Package metrics is what monitoring is told of a server, in the form of Prometheus. The rest of the server knows nothing
// of Prometheus: it calls the methods of Metrics, or is asked through the functions of Sources when somebody looks.
//
// Guarantees. Nothing here names a tenant, a user or an app, and the number of series is bounded by the contract. A
// look costs no more often than every few seconds what is dear to count.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Metrics are the numbers of one server. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	propose  *prometheus.HistogramVec
	batch    prometheus.Histogram
	requests *prometheus.HistogramVec
	streams  *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

// New makes the metrics of a server of a version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		propose: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gestor_propose_seconds", Help: "How long changes took from being proposed here until they were applied here, by outcome.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"outcome"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gestor_batch_commands", Help: "How many changes shared an entry of the log that this server made.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gestor_requests_seconds", Help: "How long calls took that are no streams, by procedure and code.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10},
		}, []string{"procedure", "code"}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gestor_streams_total", Help: "Streams that have ended, by procedure and code.",
		}, []string{"procedure", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gestor_refused_total", Help: "What was refused for lack of room, by reason.",
		}, []string{"reason"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "gestor_build_info", Help: "The program; always 1.",
	}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		m.propose, m.batch, m.requests, m.streams, m.refused, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers with the numbers of now. The caller decides who may ask.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Proposed counts a change: refused by the state machine, in time, not in time.
func (m *Metrics) Proposed(took time.Duration, err error) {
	m.propose.WithLabelValues(outcome(err)).Observe(took.Seconds())
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "applied"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, fault.KindTimeout), errors.Is(err, fault.KindCancelled):
		return "given_up"
	case errors.Is(err, fault.KindUnavailable):
		return "unavailable"
	case errors.Is(err, fault.KindExhausted):
		return "overload"
	case fault.KindOf(err) == fault.KindInternal:
		return "error"
	}
	return "refused"
}

// Batched counts an entry of the log.
func (m *Metrics) Batched(commands int) { m.batch.Observe(float64(commands)) }

// Called counts a call that is no stream. procedure is one of the contract, or the same word for all others.
func (m *Metrics) Called(procedure, code string, took time.Duration) {
	m.requests.WithLabelValues(procedure, code).Observe(took.Seconds())
}

// Streamed counts a stream that has ended.
func (m *Metrics) Streamed(procedure, code string) { m.streams.WithLabelValues(procedure, code).Inc() }

// Refused counts what was refused for lack of room.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }
