// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package wrapper becomes podman, or any other program, inside a private mount
// namespace in which the bootc-owned store has the path that bootc and podman's
// database expect, or runs a program there and waits for it.
//
// It is the only package that starts or becomes another program. It decides
// nothing about images and prints nothing.
package wrapper
