// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

// Package clone copies images between two containers-storage of the overlay driver
// without moving their bytes where the filesystem can share them: the files of each
// layer are cloned, and what makes a layer's archive of them again is passed on as it
// is. What it makes is made by the storage library, in its ways and under its locks.
//
// With cgo that library needs the headers of Btrfs, which nothing here uses; therefore
// the package is there without cgo only, as the Makefile builds everything.
package clone
