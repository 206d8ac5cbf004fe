package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"

	"github.com/saas-gestor/gestor/proto/fault"
)

// decodePlain explains an error of the network or of TLS.
func decodePlain(err error, address string) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fault.Cancelled("the call to %s was cancelled", address).WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Timeout("%s did not answer in time", address).WithCause(err).
			WithFix("check that the server is running and not overloaded")
	}
	f := fault.Unavailable("cannot reach %s", address).WithCause(err)
	return f.WithFix("%s", advice(err))
}

func advice(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name " + dns.Name + " does not resolve; check the address"
	}
	if _, ok := errors.AsType[*PinError](err); ok {
		return "the server is not the one the pin belongs to; check the address and the pin, and that nobody is in between"
	}
	if isCertificate(err) {
		return "the server's certificate is not from the expected root; check the address and that nobody is in between"
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return "the server ended the TLS handshake (" + alert.Error() + "); check this side's certificate and clock"
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "nothing listens there; check that gestor-server runs, and the port"
	}
	return "check the address, the network and firewalls, and that gestor-server runs"
}

func isCertificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}
