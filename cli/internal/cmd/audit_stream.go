package cmd

import (
	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// tenantStream and platformStream make one of two streams that differ in their type alone.
func tenantStream(s *connect.ServerStreamForClient[gestorv1.ExportAuditResponse], err error) (auditStream, error) {
	if err != nil {
		return auditStream{}, err
	}
	return auditStream{
		receive: s.Receive, err: s.Err, close: s.Close,
		piece: func() ([]byte, int64) { return s.Msg().GetData(), s.Msg().GetEntries() },
	}, nil
}

func platformStream(s *connect.ServerStreamForClient[gestorv1.ExportPlatformAuditResponse], err error) (auditStream, error) {
	if err != nil {
		return auditStream{}, err
	}
	return auditStream{
		receive: s.Receive, err: s.Err, close: s.Close,
		piece: func() ([]byte, int64) { return s.Msg().GetData(), s.Msg().GetEntries() },
	}, nil
}
