// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package tree copies the directory tree of an image's layer as the kernel's overlayfs has
// it, makes one of the entries of an archive, and compares one with the headers of its
// archive. Those are in the tar-split file, of which and the tree podman makes the archive
// again (the recipe). The package does without stores and the storage library.
package tree
