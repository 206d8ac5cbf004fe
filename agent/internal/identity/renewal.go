package identity

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

const renewalName = "renewal.json"

// renewal is a request for the certificate after one generation. The servers count generations to notice a cloned
// disk, and give an answer a second time only to the very same request. So it is on disk before it is first sent, and
// stays there until the answer is: whatever is lost in between, the host can ask again.
type renewal struct {
	Generation uint64 `json:"generation"`
	CSR        []byte `json:"csr"` // DER
}

// renewal returns the request that follows generation, making it at first.
func (d Dir) renewal(generation uint64, key *ecdsa.PrivateKey) ([]byte, error) {
	if r, err := d.readRenewal(); err != nil {
		return nil, err
	} else if r.Generation == generation && r.isFor(key) {
		return r.CSR, nil
	}
	csr, err := signingRequest(key)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(renewal{Generation: generation, CSR: csr})
	if err != nil {
		return nil, fmt.Errorf("encode renewal: %w", err)
	}
	return csr, d.write(renewalName, b)
}

// readRenewal returns the request under way. What cannot be understood is as good as none: the file is replaced as
// a whole, so it was not written here.
func (d Dir) readRenewal() (renewal, error) {
	var r renewal
	b, err := os.ReadFile(d.path(renewalName))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read renewal: %w", err)
	}
	if json.Unmarshal(b, &r) != nil {
		return renewal{}, nil //nolint:nilerr // see above
	}
	return r, nil
}

func (r renewal) isFor(key *ecdsa.PrivateKey) bool {
	csr, err := x509.ParseCertificateRequest(r.CSR)
	return err == nil && csr.CheckSignature() == nil && key.PublicKey.Equal(csr.PublicKey)
}

// dropRenewal forgets the request once its answer is stored.
func (d Dir) dropRenewal() error {
	if err := os.Remove(d.path(renewalName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget renewal: %w", err)
	}
	return nil
}
