module github.com/saas-gestor/gestor/agent

go 1.26

require github.com/saas-gestor/gestor/proto v0.0.0
require github.com/saas-gestor/gestor/plugins v0.0.0

replace github.com/saas-gestor/gestor/proto => ../proto
replace github.com/saas-gestor/gestor/plugins => ../plugins
