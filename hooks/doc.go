// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package hooks knows what happens when a container starts on a bootc host: three
// OCI hooks, how podman is told to run them, and what they leave in
// /run/bootc-podman.
//
// A hook runs for every container that it is meant for, so each fails in its own
// way, in a time of its own, and takes no more memory than a limit:
//
//   - ledger always succeeds: a container that is not written down starts too;
//   - mount-guard hands its input on unchanged when anything is wrong with it or
//     with us; only mode deny fails, and only for a mount that it saw to be wrong;
//   - bound-gate fails, with a reason, whenever it cannot tell that the container
//     may start; only containers that ask for it come to it.
//
// Containers name their mounts, their annotations and themselves: none of it is
// trusted. The package starts no programs and never opens a store for writing.
package hooks
