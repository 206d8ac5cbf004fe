package engine

import (
	"fmt"

	"github.com/saas-gestor/gestor/server/internal/command"
)

// Refuse sets what is asked before this server, while it leads, takes a change: an error refuses what users do, from
// whichever server it comes, but for what helps: signing in and out, removing apps, adding, removing and checking servers,
// and backups. It is called before Run.
func (e *Engine) Refuse(why func() error) { e.refuse = why }

// admit refuses a command in its wire form, or lets it in.
func (e *Engine) admit(data []byte) error {
	if e.refuse == nil {
		return nil
	}
	why := e.refuse()
	if why == nil {
		return nil
	}
	c, err := command.Unmarshal(data)
	if err != nil {
		return fmt.Errorf("propose: %w", err)
	}
	if c.Actor.Kind != "user" {
		return nil
	}
	switch c.Op.(type) {
	case command.CreateSession, command.DeleteSession, command.DeleteApp, command.CancelTask, command.CancelDeployment,
		command.CreateServerToken, command.DeleteServer, command.DeleteNode, command.Mark:
		return nil
	}
	return why
}
