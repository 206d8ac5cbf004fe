module github.com/saas-gestor/gestor/e2e

go 1.26.0

require github.com/saas-gestor/gestor/proto v0.0.0

require github.com/saas-gestor/gestor/server v0.0.0

require github.com/saas-gestor/gestor/agent v0.0.0

require github.com/saas-gestor/gestor/plugins v0.0.0

require github.com/saas-gestor/gestor/cli v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/saas-gestor/gestor/proto => ../proto

replace github.com/saas-gestor/gestor/server => ../server

replace github.com/saas-gestor/gestor/agent => ../agent

replace github.com/saas-gestor/gestor/plugins => ../plugins

replace github.com/saas-gestor/gestor/cli => ../cli
