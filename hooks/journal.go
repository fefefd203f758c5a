// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import "github.com/coreos/go-systemd/v22/journal"

// Priority is that of a journal record, in the numbers of syslog(3).
type Priority int

// The priorities we use.
const (
	Error   = Priority(journal.PriErr)
	Warning = Priority(journal.PriWarning)
	Notice  = Priority(journal.PriNotice)
	Info    = Priority(journal.PriInfo)
)

// Journal takes records. Send has no error: there is no place to report it.
type Journal interface {
	Send(p Priority, message string, fields map[string]string)
}

// SystemJournal is systemd's. Without one, records are lost.
type SystemJournal struct{}

// Send implements Journal.
func (SystemJournal) Send(p Priority, message string, fields map[string]string) {
	fields = with(fields, "SYSLOG_IDENTIFIER", "bootc-podman")
	_ = journal.Send(message, journal.Priority(p), fields)
}
