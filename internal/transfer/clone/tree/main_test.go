// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"os"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
)

func TestMain(m *testing.M) { os.Exit(testfs.Main(m)) }
