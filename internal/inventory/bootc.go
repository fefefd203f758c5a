// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// askBootc asks bootc for the deployments of the running host. Where it cannot
// or may not run, the host is nil, and why is the reason.
func (inv *inventory) askBootc(ctx context.Context) (h *host.Host, why string) {
	if inv.Sysroot.Running == "" {
		return nil, "not the running host"
	}
	bootc, err := wrapper.LookPath("bootc", inv.Env)
	if err != nil {
		return nil, "bootc is not installed"
	}
	if inv.Euid != 0 {
		return nil, "bootc needs root"
	}
	out, err := inv.Runner.Output(ctx, wrapper.Cmd{Path: bootc, Args: []string{"bootc", "status", "--format=json"}, Env: inv.Env})
	if err != nil {
		return nil, fmt.Sprintf("bootc status failed: %v", err)
	}
	h, err = host.ParseBootcStatus(out)
	if err != nil {
		return nil, fmt.Sprintf("bootc status is not understood: %v", err)
	}
	if len(h.Deployments) == 0 {
		return nil, "bootc reports no deployment"
	}
	return h, "bootc status"
}
