package outward_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func rootsOf(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// receiver counts what reaches it.
func receiver(t *testing.T, secure bool, answer http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var calls atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if answer != nil {
			answer(w, r)
		}
	})
	s := httptest.NewUnstartedServer(handler)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, &calls
}

func TestPost_ReachesNothingButTheInternet(t *testing.T) {
	c := outward.New(outward.Options{Timeout: 2 * time.Second})
	for _, host := range []string{
		"127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1",
		"255.255.255.255", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[fe80::1]",
		"[fec0::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[64:ff9b::a00:1]", "[64:ff9b:1::1]", "[2002:a00:1::1]", "[2001:0:a00:1::1]",
		"[2001:db8::1]", "[100::1]", "[3fff::1]", "localhost", "0", "2130706433", "0x7f.1", "017700000001",
	} {
		_, err := c.Post(t.Context(), "https://"+host+":9/x", nil, nil)
		if !errors.Is(err, fault.KindDenied) && !errors.Is(err, fault.KindUnavailable) {
			t.Errorf("%s: got %v", host, err)
		}
		// What is no name for anything cannot be found; all else must have been judged.
		if err != nil && !strings.Contains(err.Error(), "may not be reached") && !strings.Contains(err.Error(), "cannot be found") {
			t.Errorf("%s was not refused but tried: %v", host, err)
		}
	}
}

func TestIsPublic_HoldsForAddressesOfTheInternet(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1111": true, "2a00:1450::1": true, "::ffff:1.1.1.1": true,
		"::ffff:127.0.0.1": false, "fe80::1%eth0": false, "::1.1.1.1": false, "2001:1::1": false,
	} {
		if got := outward.IsPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
	if outward.IsPublic(netip.Addr{}) {
		t.Error("no address passes for one of the internet")
	}
}

func TestPost_ReachesWhatAnOperatorAllowed(t *testing.T) {
	plain, calls := receiver(t, false, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "hello" || r.Header.Get("X-One") != "1" {
			t.Errorf("got %q, %v", body, r.Header)
		}
	})
	secure, _ := receiver(t, true, nil)
	c := outward.New(outward.Options{Allow: loopback(), Roots: rootsOf(secure)})
	for _, url := range []string{plain.URL, secure.URL} {
		if a, err := c.Post(t.Context(), url, http.Header{"X-One": {"1"}}, []byte("hello")); err != nil || a.Status != 200 {
			t.Errorf("%s: got %+v, %v", url, a, err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestPost_WithoutTLSReachesAllowedNetworksOnly(t *testing.T) {
	_, err := outward.New(outward.Options{}).Post(t.Context(), "http://1.1.1.1:9/", nil, nil)
	if !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("got %v", err)
	}
}

func TestPost_DoesNotReachTheInstallationItself(t *testing.T) {
	own := netip.MustParseAddr("1.1.1.1")
	c := outward.New(outward.Options{Own: func() []netip.Addr { return []netip.Addr{own} }})
	for _, host := range []string{"1.1.1.1", "[::ffff:1.1.1.1]"} {
		if _, err := c.Post(t.Context(), "https://"+host+":9/", nil, nil); !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "this installation") {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

// resolver answers every name with an address.
func resolver(t *testing.T, address func() [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: address()},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestPost_JudgesWhatANameMeansAtEveryConnection(t *testing.T) {
	target, calls := receiver(t, true, nil)
	_, port, _ := net.SplitHostPort(target.Listener.Addr().String())
	var asked atomic.Int32
	r := resolver(t, func() [4]byte {
		if asked.Add(1) == 1 {
			return [4]byte{127, 0, 0, 1}
		}
		return [4]byte{10, 0, 0, 1}
	})
	allowed := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	c := outward.New(outward.Options{Resolve: r, Allow: allowed, Roots: rootsOf(target)})
	if a, err := c.Post(t.Context(), "https://example.com:"+port+"/", nil, nil); err != nil || a.Status != 200 {
		t.Fatalf("got %+v, %v", a, err)
	}
	_, err := c.Post(t.Context(), "https://example.com:"+port+"/", nil, nil)
	if !errors.Is(err, fault.KindDenied) || calls.Load() != 1 {
		t.Errorf("a name that means another address now: got %v after %d calls", err, calls.Load())
	}
	if strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("%v tells what a name means inside", err)
	}
}

func TestPost_DoesNotFollowRedirects(t *testing.T) {
	inner, reached := receiver(t, false, nil)
	outer, _ := receiver(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
	})
	a, err := outward.New(outward.Options{Allow: loopback()}).Post(t.Context(), outer.URL, nil, []byte("x"))
	if err != nil || a.Status != http.StatusTemporaryRedirect || reached.Load() != 0 {
		t.Errorf("got %+v, %v, %d calls of where it leads", a, err, reached.Load())
	}
}

func TestPost_IgnoresProxiesOfTheEnvironment(t *testing.T) {
	proxy, reached := receiver(t, false, nil)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	_, err := outward.New(outward.Options{Timeout: 2 * time.Second}).Post(t.Context(), "https://10.0.0.1/", nil, nil)
	if !errors.Is(err, fault.KindDenied) || reached.Load() != 0 {
		t.Errorf("got %v, %d calls of the proxy", err, reached.Load())
	}
}

func TestPost_EndsWithReceiversThatAreSlowOrNeverEnd(t *testing.T) {
	slow, _ := receiver(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	silent, _ := receiver(t, false, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	c := outward.New(outward.Options{Allow: loopback(), Timeout: 300 * time.Millisecond})
	if a, err := c.Post(t.Context(), slow.URL, nil, nil); err != nil || a.Status != 200 {
		t.Errorf("an endless answer: got %+v, %v", a, err)
	}
	if _, err := c.Post(t.Context(), silent.URL, nil, []byte("x")); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("a silent receiver: got %v", err)
	}
}

func TestPost_TellsNothingOfTheURLOrTheAnswer(t *testing.T) {
	bad, _ := receiver(t, true, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ANSWER")) })
	closed, _ := receiver(t, false, nil)
	closed.Close()
	c := outward.New(outward.Options{Allow: loopback(), Timeout: time.Second})
	for _, url := range []string{bad.URL, closed.URL, "https://nowhere.invalid", "https://10.0.0.1"} {
		_, err := c.Post(t.Context(), url+"/SECRET?key=SECRET", nil, nil)
		if err == nil {
			t.Fatalf("%s was reached", url)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "SECRET") || strings.Contains(e.Error(), "ANSWER") {
				t.Errorf("%s: %v", url, e)
			}
		}
	}
}

func TestPost_ReadsHowLongABusyReceiverWantsToBeLeftAlone(t *testing.T) {
	for value, want := range map[string]time.Duration{"120": 2 * time.Minute, "0.5": 500 * time.Millisecond, "1e300": 24 * time.Hour, "-1": 0, "soon": 0, "NaN": 0} {
		s, _ := receiver(t, false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		a, err := outward.New(outward.Options{Allow: loopback()}).Post(t.Context(), s.URL, nil, nil)
		if err != nil || a.RetryAfter != want || a.Status != http.StatusTooManyRequests {
			t.Errorf("%q: got %+v, %v", value, a, err)
		}
	}
}

func TestParseURL_RefusesWhatIsNoPlainAddress(t *testing.T) {
	for _, raw := range []string{
		"", "x", "ftp://example.com", "https://", "https:example.com", "//example.com", "https://user:secret@example.com", "https://example.com/#a",
		"https://exa mple.com", "https://example.com/\r\nX: y", "https://[fe80::1%25eth0]/", "https://example.com:0", "https://example.com:99999",
		"https://example.com/ü", "javascript:alert(1)", "file:///etc/passwd", "https://" + strings.Repeat("a", 3000),
	} {
		if _, err := outward.ParseURL("url", raw); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%.60q: got %v", raw, err)
		}
	}
	for _, raw := range []string{"https://example.com", "http://10.0.0.1:8080/a?b=c", "https://[2606:4700::1]/x"} {
		if _, err := outward.ParseURL("url", raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzParseURL_NeverPanicsAndGivesAHost(f *testing.F) {
	f.Add("https://example.com:8443/x?y=z")
	f.Add("http://[::1%25a]:1/")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := outward.ParseURL("url", raw)
		if err == nil && (u.Hostname() == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
			t.Errorf("%q gives %v", raw, u)
		}
	})
}
