package api

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// Policy is what each method demands of its caller, by procedure ("/gestor.v1.AppService/GetApp"). A procedure that is
// not in it is refused.
type Policy map[string]*gestorv1.Access

// NewPolicy reads the policy out of the contract itself. It fails on a method without a declared permission: such a
// server must not start.
func NewPolicy(files ...protoreflect.FileDescriptor) (Policy, error) {
	p := Policy{}
	for _, file := range files {
		for i := range file.Services().Len() {
			if err := p.add(file.Services().Get(i)); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p Policy) add(service protoreflect.ServiceDescriptor) error {
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		access, ok := proto.GetExtension(method.Options(), gestorv1.E_Access).(*gestorv1.Access)
		if !ok || access.GetPermission() == gestorv1.Permission_PERMISSION_UNSPECIFIED {
			return fmt.Errorf("method %s declares no permission; add option (gestor.v1.access) to it", method.FullName())
		}
		if _, known := auth.HoldersOf(access.GetPermission()); !known {
			return fmt.Errorf("method %s needs %s, which the matrix in package auth does not know", method.FullName(), access.GetPermission())
		}
		p[fmt.Sprintf("/%s/%s", service.FullName(), method.Name())] = access
	}
	return nil
}

// Contract is every file of the API that people and agents call.
func Contract() []protoreflect.FileDescriptor {
	var files []protoreflect.FileDescriptor
	for _, pkg := range []protoreflect.FullName{"gestor.v1", "gestor.agent.v1"} {
		protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
			files = append(files, f)
			return true
		})
	}
	return files
}
