package gestor_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestCheckServerAddress_TakesWhatOthersReachAndNamesTheField(t *testing.T) {
	for _, good := range []string{"ctl1:8444", "ctl1.example.com:8444", "Ctl1.Example.com:8444", "192.0.2.7:1", "[2001:db8::1]:65535", "127.0.0.1:8443"} {
		if err := gestor.CheckServerAddress("peer_address", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	bad := append([]string{
		"", "ctl1", "ctl1:", "ctl1:0", "ctl1:65536", "ctl1:http", ":8444", "0.0.0.0:8444", "[::]:8444", "2001:db8::1:8444", "224.0.0.1:80",
		"https://ctl1:8444", "ctl1:8444/path", "a b:8444", "-ctl:8444", "ctl1:-1", "user@ctl1:8444",
	}, hostile...)
	for _, b := range bad {
		refused, ok := errors.AsType[*fault.Error](gestor.CheckServerAddress("peer_address", b))
		if !ok || refused.Kind != fault.KindInvalid || refused.Field != "peer_address" {
			t.Errorf("%q: got %v", b, refused)
		}
	}
}

func TestCheckServerID_TakesWhatNewIDMakes(t *testing.T) {
	if err := gestor.CheckServerID("server_id", gestor.NewID[gestor.ServerID]("srv")); err != nil {
		t.Error(err)
	}
	for _, bad := range append([]string{"srv_", "srv_A", "srv_a/b", "nod_1", "", "srv_" + strings.Repeat("a", 100)}, hostile...) {
		if err := gestor.CheckServerID("server_id", gestor.ServerID(bad)); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestServerNameOf_MakesANameOfAnyHost(t *testing.T) {
	for host, want := range map[string]string{
		"ctl1": "ctl1", "Ctl1.example.com": "ctl1", "my_host": "my-host", "10-0-0-1": "server", "9lives": "lives", "": "server",
		"ünchen": "nchen", strings.Repeat("a", 80): strings.Repeat("a", 63), "a-": "a",
	} {
		if got := gestor.ServerNameOf(host); got != want || gestor.CheckServerName("name", got) != nil {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

func TestServerValidate_NamesTheAddressThatIsWrong(t *testing.T) {
	s := gestor.Server{Name: "ctl1", PeerAddress: "ctl1:8444", Addresses: []string{"ctl1:8443", "0.0.0.0:8443"}}
	refused, ok := errors.AsType[*fault.Error](s.Validate("server."))
	if !ok || refused.Field != "server.addresses[1]" {
		t.Errorf("got %v", refused)
	}
	s.Addresses = s.Addresses[:1]
	s.Version = "v1\x1b[31m"
	if refused, ok := errors.AsType[*fault.Error](s.Validate("")); !ok || refused.Field != "version" {
		t.Errorf("got %v", refused)
	}
	s.Version, s.Addresses = "v1", slices.Repeat(s.Addresses, 11)
	if refused, ok := errors.AsType[*fault.Error](s.Validate("")); !ok || refused.Field != "addresses" {
		t.Errorf("got %v", refused)
	}
	s.Addresses = s.Addresses[:10]
	if err := s.Validate(""); err != nil {
		t.Error(err)
	}
}
