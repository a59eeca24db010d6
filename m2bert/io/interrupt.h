#pragma once
// Ctrl-C: the first one asks the program to stop at the next safe point, the second one ends it at once. So do SIGTERM and SIGHUP (a
// closed terminal), but several of them within a second count as one.

namespace m2bert::io {

// Installs handlers for SIGINT, SIGTERM and, unless it is ignored, SIGHUP. Temporary files of AtomicFile are removed even when the second
// signal ends the program.
void install_interrupt_handlers();
// Whether the signal is ignored: SIGHUP under nohup(1), SIGPIPE in some shells.
bool is_ignored(int signal);
// Whether a signal has arrived.
bool interrupted();
// The signal that came, 0 if none. The program's exit code is then 128 + signal.
int interrupt_signal();
// Throws Error("stopped by ...") if a signal has arrived.
void throw_if_interrupted();

}  // namespace m2bert::io
