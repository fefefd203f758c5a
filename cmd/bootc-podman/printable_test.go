// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestLogOnATerminalIsEscaped: --log-level debug prints names from units of images.
func TestLogOnATerminalIsEscaped(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		f := &logFormatter{terminal: terminal}
		f.ForceColors = terminal
		line, err := f.Format(&logrus.Entry{Logger: logrus.New(), Level: logrus.DebugLevel, Message: "binds \x1b[31mred\a"})
		if err != nil || !strings.Contains(string(line), `binds \x1b[31mred\a`) {
			t.Errorf("terminal %v: got %q (%v)", terminal, line, err)
		}
	}
}
