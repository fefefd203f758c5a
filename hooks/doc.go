// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package hooks is what runs when a container starts on a bootc host: three OCI hooks,
// and what they leave in /run/bootc-podman. Package setup makes podman run them.
//
// A hook runs for every container that it is meant for, so each fails in its own
// way, in a time of its own, and takes no more memory than a limit:
//
//   - ledger always succeeds: a container that is not written down starts too;
//   - mount-guard hands its input on unchanged when anything is wrong with it or
//     with us; only mode deny fails, and only for a mount that it saw to be wrong;
//   - bound-gate fails, with a reason, unless it has seen that the container may
//     start; it runs only for containers that ask for it.
//
// Containers name their mounts, their annotations and themselves: nothing of this is
// trusted. The package starts no programs and never opens a store for writing.
package hooks
