module github.com/saas-gestor/gestor/e2e

go 1.26.0

require github.com/saas-gestor/gestor/proto v0.0.0

require (
	connectrpc.com/connect v1.21.1
	github.com/hanwen/go-fuse/v2 v2.12.1
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
)

require (
	buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go v1.36.12-20260825204119-511051f7f437.1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/saas-gestor/gestor/proto => ../proto

replace github.com/saas-gestor/gestor/server => ../server

replace github.com/saas-gestor/gestor/agent => ../agent

replace github.com/saas-gestor/gestor/plugins => ../plugins

replace github.com/saas-gestor/gestor/cli => ../cli
