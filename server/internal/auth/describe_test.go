package auth

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// What the table says of a permission is what the contract says of it.
func TestLets_IsTheCommentOfTheContract(t *testing.T) {
	raw, err := os.ReadFile("../../../proto/gestor/v1/access.proto")
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`((?:  // .*\n)+)  (PERMISSION_[A-Z_]+) = \d+;`)
	found := 0
	for _, m := range value.FindAllStringSubmatch(string(raw), -1) {
		p := gestorv1.Permission(gestorv1.Permission_value[m[2]])
		if p == gestorv1.Permission_PERMISSION_UNSPECIFIED {
			continue
		}
		found++
		var words []string
		for line := range strings.Lines(m[1]) {
			words = append(words, strings.TrimPrefix(strings.TrimSpace(line), "// "))
		}
		if want := strings.Join(words, " "); Lets(p) != want {
			t.Errorf("%s: the table says %q, the contract %q", m[2], Lets(p), want)
		}
	}
	if found != len(All()) {
		t.Errorf("the contract describes %d permissions, the matrix has %d", found, len(All()))
	}
}

// product is the table of the product's description: who may do what.
const product = `
manage users          | yes | no  | no  | no  | USER_MANAGE
configure tenants     | yes | no  | no  | no  | TENANT_CONFIGURE
create/edit apps      | yes | yes | yes | no  | APP_WRITE
delete apps           | yes | yes | no  | no  | APP_DELETE
deploy                | yes | yes | yes | no  | DEPLOY
see builds/logs       | yes | yes | yes | yes | APP_READ
manage databases      | yes | yes | no  | no  | DATABASE_MANAGE
create database users | yes | yes | no  | no  | DATABASE_USER_CREATE
upload files          | yes | yes | yes | no  | FILE_UPLOAD
see audit             | yes | yes | no  | no  | AUDIT_READ
configure XUI One     | yes | no  | no  | no  | XUI_CONFIGURE`

func TestMatrix_IsTheTableOfTheProduct(t *testing.T) {
	roles := []gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer}
	for line := range strings.Lines(strings.TrimSpace(product)) {
		cells := strings.Split(line, "|")
		p, ok := Named(strings.TrimSpace(cells[5]))
		if !ok {
			t.Errorf("%s: there is no permission %q", cells[0], cells[5])
			continue
		}
		holders, _ := HoldersOf(p)
		for i, role := range roles {
			if want := strings.TrimSpace(cells[i+1]) == "yes"; slices.Contains(holders.Roles, role) != want {
				t.Errorf("%s: %s is to hold it: %v", strings.TrimSpace(cells[0]), role, want)
			}
		}
		if holders.Operator {
			t.Errorf("%s: operators hold it in every tenant", cells[0])
		}
	}
}

// The state machine does not know the matrix, so its rule must be the same.
func TestMatrix_LetsThoseApproveWhoseApprovalCounts(t *testing.T) {
	holders, _ := HoldersOf(gestorv1.Permission_PERMISSION_DEPLOY_APPROVE)
	for _, role := range everyone {
		if slices.Contains(holders.Roles, role) != role.Approves() || slices.Contains(gestor.Approvers(), role) != role.Approves() {
			t.Errorf("%s: the matrix and the state machine differ", role)
		}
	}
}
