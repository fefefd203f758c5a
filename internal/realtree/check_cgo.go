// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

import (
	"errors"
	"io"
)

func isHelper() bool { return false }

func check(io.Writer, string, string) error {
	return errors.New("built with cgo, cannot check stores")
}
