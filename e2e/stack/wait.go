package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"
)

// startTimeout is how long what has been started may take to be there: far longer than it takes, because a machine that does
// other work besides replays a long log slowly, and what is stuck stays stuck.
const startTimeout = 2 * time.Minute

// WaitConnected waits until every agent is connected.
func (s *Stack) WaitConnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return Poll(ctx, "all agents to be connected", func(ctx context.Context) (bool, error) {
		for _, a := range s.Agents {
			if ok, err := s.connected(ctx, a); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

func (s *Stack) connected(ctx context.Context, a *Agent) (bool, error) {
	out, err := s.CLI(ctx, "nodes", "show", a.Node, "--json")
	if err != nil {
		return false, nil //nolint:nilerr // the server may be on its way
	}
	var answer struct {
		Node struct {
			Status string `json:"status"`
		} `json:"node"`
	}
	err = json.Unmarshal([]byte(out), &answer)
	return answer.Node.Status == "NODE_STATUS_CONNECTED", err
}

// WaitListening waits until something listens on address, or p has ended.
func (s *Stack) WaitListening(ctx context.Context, address string, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return Poll(ctx, p.Name+" to listen on "+address, func(ctx context.Context) (bool, error) {
		select {
		case <-p.Done():
			log, _ := os.ReadFile(p.Log)
			return false, fmt.Errorf("%s ended: %s", p.Name, log)
		default:
			return Listening(ctx, address)
		}
	})
}

// Listening reports whether something listens on a TCP address, in the form that Poll asks for.
func Listening(ctx context.Context, address string) (bool, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, nil //nolint:nilerr // that is the answer
	}
	return true, conn.Close()
}

// Poll asks done every 20 ms until it says yes, fails, or ctx ends; what says what is being waited for.
func Poll(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}
