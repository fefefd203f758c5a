// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package setup makes podman run the hooks of package hooks, and reports whether it does:
// install, uninstall, verify, list and explain, on a host or in the root directory of an
// image. It reads hook configurations and containers.conf(5) by podman's rules, and runs
// no podman.
package setup
