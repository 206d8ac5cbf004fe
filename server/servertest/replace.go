package servertest

import gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"

// Replace lets one more server join in the place of another, dead or not, by way of those that run.
func (c *Cluster) Replace(old *Server) *Server {
	c.t.Helper()
	s := c.newServer()
	res, err := c.Any().Servers().CreateServerToken(c.t.Context(), &gestorv1.CreateServerTokenRequest{Replaces: old.Name})
	if err != nil {
		c.t.Fatalf("make a server token: %v", err)
	}
	var join []string
	for _, one := range c.Servers {
		if one != s && one != old {
			join = append(join, "https://"+one.Public)
		}
	}
	c.start(s, res.GetToken(), join)
	return s
}
