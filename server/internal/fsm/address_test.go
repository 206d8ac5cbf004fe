package fsm

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// What a protected app answers stays its own until a deployment of it says otherwise, whatever its settings say.
func TestCreateApp_DoesNotTakeThePlaceOfAProtectedApp(t *testing.T) {
	for name, away := range map[string]func(*gestor.AppSettings){
		"by taking its domain away": func(s *gestor.AppSettings) { s.Domains = []string{"old.example.com"} },
		"by taking its node away":   func(s *gestor.AppSettings) { s.Nodes = []gestor.NodeID{} },
	} {
		t.Run(name, func(t *testing.T) {
			w := peopled(t)
			app, err := w.view().App(t.Context(), "app_1")
			if err != nil {
				t.Fatal(err)
			}
			app.Settings.Domains = []string{"shop.example.com"}
			w.by("usr_a").must(command.UpdateApp{ID: app.ID, Settings: app.Settings})
			w.deploy("1", live...)
			w.protect("production", 1)
			other := newApp("app_2", "fake", "nod_1")
			other.Settings.Environment, other.Settings.Domains = gestor.EnvironmentDevelopment, []string{"shop.example.com"}
			away(&app.Settings)
			w.by("usr_devops").must(command.UpdateApp{ID: app.ID, Settings: app.Settings})
			w.by("usr_devops").refuses(fault.KindConflict, command.CreateApp{App: other})
			w.protect("production", 0)
			w.by("usr_devops").must(command.CreateApp{App: other})
		})
	}
}
