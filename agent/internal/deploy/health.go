package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// probe asks a release for its health. It follows no redirects: one is an answer.
type probe struct {
	client *http.Client
	url    string
	host   string // sent as Host
}

// newProbe asks on a port of the loopback, as clients of the app's first domain would.
func newProbe(port int, s *agentv1.Serving) (*probe, error) {
	path := s.GetHealthPath()
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
		return nil, fault.Invalid("health_path", "%q is not the path of an address", path)
	}
	p := &probe{url: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + u.RequestURI()}
	if len(s.GetDomains()) > 0 {
		p.host = strings.Replace(s.GetDomains()[0], "*.", "www.", 1)
	}
	p.client = &http.Client{
		Timeout:       5 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// once returns nil for an answer of 200 to 399.
func (p *probe) once(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return err
	}
	if p.host != "" {
		req.Host = p.host
	}
	req.Header.Set("User-Agent", "gestor-health")
	res, err := p.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("the answer is %s", res.Status)
	}
	return nil
}

// until asks again and again, more and more slowly, until the answer is good. alive tells whether there is still
// something to ask.
func (p *probe) until(ctx context.Context, most time.Duration, alive func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	wait := 100 * time.Millisecond
	var last error
	for {
		err := p.once(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if err := alive(); err != nil {
			return err
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("%w within %s", last, most)
		}
		wait = min(wait*5/4, time.Second)
	}
}

// pause waits, and tells whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func healthTimeout(s *agentv1.Serving) time.Duration {
	if d := s.GetHealthTimeout().AsDuration(); d > 0 {
		return d
	}
	return time.Minute
}
