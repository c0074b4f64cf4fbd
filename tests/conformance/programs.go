//go:build tools

// Package conformance pins, through go.mod, the programs that the conformance tests are made of.
package conformance

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
	_ "sigs.k8s.io/cri-tools/cmd/critest"
)
