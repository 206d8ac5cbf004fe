module github.com/saas-gestor/gestor/plugins

go 1.26

require github.com/saas-gestor/gestor/proto v0.0.0

replace github.com/saas-gestor/gestor/proto => ../proto
