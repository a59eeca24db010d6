#pragma once
// Ctrl-C: the first one asks the program to stop at the next good moment, the second one ends it at once. So do SIGTERM and SIGHUP (a
// terminal that is closed), which count once when they come several times within a second.

namespace m2bert::io {

// Installs handlers for SIGINT, SIGTERM and SIGHUP. Temporary files of AtomicFile are removed also when the second signal kills.
void install_interrupt_handlers();
// Whether a signal has come.
bool interrupted();
// The signal that came, 0 if none. The program's exit code is then 128 + signal.
int interrupt_signal();
// Throws Error("stopped by ...") if a signal has come.
void throw_if_interrupted();

}  // namespace m2bert::io
