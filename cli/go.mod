module github.com/saas-gestor/gestor/cli

go 1.26

require github.com/saas-gestor/gestor/proto v0.0.0

replace github.com/saas-gestor/gestor/proto => ../proto
