package outward

import (
	"io"
	"net/http"

	"github.com/saas-gestor/gestor/proto/fault"
)

// HTTP is the same way outward for libraries that speak HTTP themselves. It does not follow redirects either, and an answer
// has at most mostBody bytes: the rest is an error. Unlike Post it hands answers on, so nothing of them may be shown.
func (c *Client) HTTP(mostBody int64) *http.Client {
	return &http.Client{
		Timeout:       c.o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     judged{c: c, most: mostBody},
	}
}

// PlainAllowed reports whether there are networks that may be reached without TLS.
func (c *Client) PlainAllowed() bool { return len(c.o.Allow) > 0 }

type judged struct {
	c    *Client
	most int64
}

// RoundTrip implements http.RoundTripper.
func (j judged) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, err := ParseURL("url", req.URL.String()); err != nil {
		return nil, err
	}
	client := j.c.safe
	if req.URL.Scheme == "http" {
		client = j.c.plain
	}
	res, err := client.Transport.RoundTrip(req)
	if err != nil {
		return nil, explain(req.URL.Hostname(), err)
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: j.most}
	return res, nil
}

// boundedBody fails a reader who would read more than there may be.
type boundedBody struct {
	io.ReadCloser

	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		n, err := b.ReadCloser.Read(one[:])
		if n > 0 {
			return 0, fault.Unavailable("the answer is larger than it may be")
		}
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
