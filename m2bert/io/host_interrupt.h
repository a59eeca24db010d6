#pragma once
// Interrupts for programs that have signal handlers of their own and run our work inside, such as Python.

namespace m2bert::io {

// As if the signal had arrived (interrupt.h), but a second one does not end the program.
void interrupt(int signal);
// Forgets the interrupt, so that other work can begin.
void clear_interrupt();

}  // namespace m2bert::io
